#include "pipeline/expected_draws.h"

#include <algorithm>

namespace ltxv {

ExpectedDraws pass_draws(const ResolvedRequest& pass, const RunMedia& media, const ModelSpec& spec, const std::string& prefix) {
  const Request& r = pass.request;
  const int64_t channels = spec.vae.latent_channels, temporal = spec.vae.compression.temporal;
  const LatentShape& l = pass.latent;
  int64_t tokens = l.token_count(), added = 0;
  ExpectedDraws draws = {{prefix + "initial", {1, channels, l.frames, l.height, l.width}}};
  for (size_t i = 0; i < media.conditions.size(); ++i) {
    if (r.conditions[i].frame_index / pass.frame_step == 0) continue;
    const int64_t frames = std::min((media.conditions[i].size(2) - 1) / temporal + 1, kPrefixLatents);
    draws.push_back({prefix + indexed_name("condition", added++), {1, channels, frames, l.height, l.width}});
    tokens += frames * l.height * l.width;
  }
  if (media.control.defined()) {
    const LatentShape c = latent_shape({media.control.size(2), media.control.size(3), media.control.size(4)}, spec.vae.compression);
    if (r.control_strength < 1) draws.push_back({prefix + "control", {1, channels, c.frames, c.height, c.width}});
    tokens += c.token_count();
  }
  const bool kept_tokens = !media.conditions.empty() || media.mask.defined() || media.control.defined();
  for (int64_t i = 0; i < static_cast<int64_t>(pass.sigmas.size()); ++i) {
    if (kept_tokens && *r.image_noise_scale > 0) draws.push_back({prefix + indexed_name("image_step", i), {1, tokens, channels}});
    if (*r.stochastic) draws.push_back({prefix + indexed_name("stochastic", i), {1, tokens, channels}});
  }
  return draws;
}

ExpectedDraws decode_draws(const ResolvedRequest& last, const LatentShape& l, const ModelSpec& spec) {
  ExpectedDraws draws;
  if (spec.vae.timestep_conditioning && *last.request.decode_noise_scale > 0)
    draws.push_back({"decode", {1, spec.vae.latent_channels, l.frames, l.height, l.width}});
  int64_t map = 0;
  for (const auto& [height, width] : injected_noise_shapes(spec.vae, l.height, l.width)) draws.push_back({indexed_name("decoder", map++), {height, width}});
  return draws;
}

void check_draws(const NoiseSource& noise, const ExpectedDraws& draws) {
  for (const ExpectedDraw& draw : draws) noise.require(draw.name, draw.shape);
}

}  // namespace ltxv
