#include "pipeline/passes.h"

#include <algorithm>
#include <cmath>

namespace ltxv {
namespace {

// The released settings: a first pass at two thirds, a second one from the last three levels of the distilled models.
constexpr double kDownscale = 0.6666666;
const std::vector<double> kSecondSigmas = {0.9094, 0.725, 0.4219};

bool has_spatial(const ModelSpec& spec) {
  return std::any_of(spec.upsamplers.begin(), spec.upsamplers.end(), [](const UpsamplerPart& u) { return u.config.spatial; });
}

bool wants_two(const Request& r, bool preset_does, const ModelSpec& spec) {
  return r.pass_count == 2 || (r.pass_count == 0 && (preset_does || !spec.upsamplers.empty()));
}

// The first of three lists that says something.
template <class T>
std::vector<T> said(const std::vector<T>& asked, const std::vector<T>& preset, const std::vector<T>& first) {
  return !asked.empty() ? asked : !preset.empty() ? preset : first;
}

bool has_stg(const std::vector<double>& scales) {
  return std::any_of(scales.begin(), scales.end(), [](double scale) { return scale > 0; });
}

double downscale_of(const Request& r, const Preset& preset, const ModelSpec& spec) {
  auto downscale = r.second_pass.downscale;
  if (!downscale && preset.second_pass) downscale = preset.second_pass->downscale;
  if (!has_spatial(spec)) {
    LTXV_CHECK(!downscale || *downscale == 1, "a first pass at ", *downscale, " of the size needs a spatial upsampler; ",
               spec.upsamplers.front().path, " is a temporal one");
    return 1;
  }
  const double factor = downscale.value_or(kDownscale);
  LTXV_CHECK(std::isfinite(factor) && factor >= 0.01 && factor <= 1, "downscale ", factor, " is not between 0.01 and 1");
  return factor;
}

}  // namespace

const Preset& pick_preset(const Request& request, const ModelSpec& spec) {
  LTXV_CHECK(request.pass_count >= 0 && request.pass_count <= 2, "passes ", request.pass_count, " is not 1 or 2");
  if (!request.preset.empty()) return spec.preset(request.preset);
  const bool two = wants_two(request, false, spec);
  for (const Preset& p : spec.presets)
    if (p.second_pass.has_value() == two) return p;
  return spec.preset("");
}

void plan_first_pass(ResolvedRequest& out, const Preset& preset, const ModelSpec& spec) {
  Request& r = out.request;
  const bool two = wants_two(r, preset.second_pass.has_value(), spec);
  out.computed = out.padded;
  out.frames_per_second = r.frames_per_second;
  if (!two) {
    for (auto* skipped : {&r.second_pass.skip_first_steps, &r.second_pass.skip_last_steps})
      if (*skipped == 0) skipped->reset();  // nothing of nothing
    LTXV_CHECK(r.second_pass == SecondPass{}, "settings of a second pass need a second pass: --upscaler names a latent upsampler for it");
    r.pass_count = 1;
    out.latent = latent_shape(out.computed, spec.vae.compression);
    return;
  }
  LTXV_CHECK(!spec.upsamplers.empty(), r.pass_count == 2 ? "two passes need" : text("preset \"", preset.name, "\" makes two passes and needs"),
             " a latent upsampler: --upscaler names one, --passes 1 does without");
  r.pass_count = 2;
  const double factor = downscale_of(r, preset, spec);
  if (has_spatial(spec)) r.second_pass.downscale = factor;
  const int64_t grid = spec.vae.compression.spatial;
  const auto reduced = [&](const char* name, int64_t side) {
    const auto less = static_cast<int64_t>(static_cast<double>(side) * factor) / grid;
    LTXV_CHECK(less >= 1, name, " ", side, ": ", factor, " of it, the size of the first pass, is less than ", grid, " pixels");
    return less;
  };
  out.latent = {latent_shape(out.padded, spec.vae.compression).frames, reduced("height", out.padded.height),
                reduced("width", out.padded.width)};
  for (const UpsamplerPart& u : spec.upsamplers) {
    if (!u.config.temporal) continue;
    out.latent.frames = out.latent.frames / 2 + 1;  // F frames become 2F - 1: as many as wanted, or one more
    out.frame_step *= 2;
  }
  out.frames_per_second = r.frames_per_second / static_cast<double>(out.frame_step);
  out.computed = pixel_shape(out.latent, spec.vae.compression);
  LTXV_CHECK(out.latent.token_count() > 1, "a first pass of one latent position is too small to be enlarged");
}

ResolvedRequest plan_second_pass(const ResolvedRequest& first, const Preset& preset, const ModelSpec& spec) {
  ResolvedRequest out = first;
  for (const UpsamplerPart& u : spec.upsamplers) out.latent = upsampled(out.latent, u.config);
  out.computed = pixel_shape(out.latent, spec.vae.compression);
  out.frames_per_second = first.request.frames_per_second;
  out.frame_step = 1;

  const SecondPass asked = first.request.second_pass, given = preset.second_pass.value_or(SecondPass{});
  Request& r = out.request;
  // The enlarged latents are what it starts from; of the input video it needs what a mask keeps.
  if (!r.outpaint && r.mask_path.empty()) r.input_video_path.clear();
  const bool own_schedule = asked.step_count > 0 || !asked.sigmas.empty();
  r.step_count = own_schedule ? asked.step_count : given.step_count;
  r.sigmas = own_schedule ? asked.sigmas : given.sigmas;
  if (r.step_count == 0 && r.sigmas.empty()) r.sigmas = kSecondSigmas;
  const auto skipped = [&](const std::optional<int64_t>& a, const std::optional<int64_t>& b) {
    return a ? *a : own_schedule ? 0 : b.value_or(0);
  };
  r.skip_first_steps = skipped(asked.skip_first_steps, given.skip_first_steps);
  r.skip_last_steps = skipped(asked.skip_last_steps, given.skip_last_steps);
  r.guidance_timesteps = said(asked.guidance_timesteps, given.guidance_timesteps, r.guidance_timesteps);
  r.guidance_scales = said(asked.guidance_scales, given.guidance_scales, r.guidance_scales);
  r.guidance_rescales = said(asked.guidance_rescales, given.guidance_rescales, r.guidance_rescales);
  r.stg_scales = said(asked.stg_scales, given.stg_scales, r.stg_scales);
  r.skip_blocks = said(asked.skip_blocks, given.skip_blocks, r.skip_blocks);
  if (!asked.stg_mode.empty() || !given.stg_mode.empty()) r.stg_mode = asked.stg_mode.empty() ? given.stg_mode : asked.stg_mode;
  r.cfg_star = asked.cfg_star.value_or(given.cfg_star.value_or(*r.cfg_star));
  r.stochastic = asked.stochastic.value_or(given.stochastic.value_or(*r.stochastic));
  const bool meant_for_stg = has_stg(first.request.stg_scales) || !given.stg_scales.empty();
  if (asked.guidance_rescales.empty() && meant_for_stg && !has_stg(r.stg_scales)) r.guidance_rescales = {0};
  SecondPass& between = r.second_pass;
  between = SecondPass{};
  between.adain = asked.adain.value_or(given.adain.value_or(1.0));
  between.tone_map = asked.tone_map.value_or(given.tone_map.value_or(0.0));
  const auto check = [](const char* name, double value) {
    LTXV_CHECK(std::isfinite(value) && value >= 0 && value <= 1, name, " ", value, " is not between 0 and 1");
  };
  check("adain", *between.adain);
  check("tone-map", *between.tone_map);
  return out;
}

void apply_preset_pass(Request& r, const Preset& preset) {
  const PassSettings& p = preset.pass;
  const bool own_schedule = r.step_count > 0 || !r.sigmas.empty();
  const bool own_rescale = r.guidance_rescale.has_value() || !r.guidance_rescales.empty();
  if (r.guidance_scales.empty() && !r.guidance_scale) r.guidance_scales = p.guidance_scales;
  if (!own_rescale) r.guidance_rescales = p.guidance_rescales;
  if (r.guidance_timesteps.empty()) r.guidance_timesteps = p.guidance_timesteps;
  if (r.stg_scales.empty()) r.stg_scales = p.stg_scales;
  if (r.skip_blocks.empty()) r.skip_blocks = p.skip_blocks;
  if (r.stg_mode.empty()) r.stg_mode = p.stg_mode;
  // The official rescaling acts beside spatio-temporal guidance only. Without it the same number would mean diffusers' rescaling of
  // plain guidance, which the preset did not ask for.
  if (!own_rescale && !p.stg_scales.empty() && !has_stg(r.stg_scales)) r.guidance_rescales = {0};
  if (!r.cfg_star) r.cfg_star = p.cfg_star.value_or(false);
  if (!r.stochastic) r.stochastic = r.window.frame_count == 0 && p.stochastic.value_or(false);  // windows bring their own sampler
  const bool from_video = !r.input_video_path.empty() && !r.strength;
  if (!r.skip_first_steps) r.skip_first_steps = own_schedule || !from_video ? 0 : p.skip_first_steps.value_or(0);
  if (!r.skip_last_steps) r.skip_last_steps = own_schedule ? 0 : p.skip_last_steps.value_or(0);
}

}  // namespace ltxv
