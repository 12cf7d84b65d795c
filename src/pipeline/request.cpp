#include "pipeline/request.h"

#include <cmath>

#include "diffusion/schedule.h"

namespace ltxv {
namespace {

constexpr int64_t kMaxSide = 8192, kMaxFrames = 100000, kMaxSteps = 1000, kMaxTextTokens = 4096;

void check_range(const char* option, double value, double least, double most) {
  LTXV_CHECK(std::isfinite(value) && value >= least && value <= most, option, " ", value, " is not between ", least, " and ", most);
}

template <class T>
T or_preset(const std::optional<T>& value, T preset) {
  return value ? *value : preset;
}

void resolve_shape(Request& r, const Preset& preset, const Compression& grid) {
  LTXV_CHECK(r.width >= 0 && r.width <= kMaxSide, "width ", r.width, " is not between 1 and ", kMaxSide);
  LTXV_CHECK(r.height >= 0 && r.height <= kMaxSide, "height ", r.height, " is not between 1 and ", kMaxSide);
  LTXV_CHECK(r.frame_count >= 0 && r.frame_count <= kMaxFrames, "frames ", r.frame_count, " is not between 1 and ", kMaxFrames);
  if (r.width == 0) r.width = preset.width;
  if (r.height == 0) r.height = preset.height;
  if (r.frames_per_second == 0) r.frames_per_second = preset.frames_per_second;
  check_range("fps", r.frames_per_second, 0.01, 1000);
  if (r.seconds != 0) {
    LTXV_CHECK(r.frame_count == 0, "seconds and frames exclude each other");
    check_range("seconds", r.seconds, 0.001, kMaxFrames / r.frames_per_second);
    const double latents = std::round((r.seconds * r.frames_per_second - 1) / static_cast<double>(grid.temporal));
    r.frame_count = static_cast<int64_t>(std::max(latents, 0.0)) * grid.temporal + 1;
    r.seconds = 0;
  }
  if (r.frame_count == 0) r.frame_count = preset.frame_count;
}

std::vector<double> resolve_sigmas(Request& r, const Preset& preset, const ModelSpec& spec, int64_t token_count) {
  LTXV_CHECK(r.step_count >= 0 && r.step_count <= kMaxSteps, "steps ", r.step_count, " is not between 1 and ", kMaxSteps);
  LTXV_CHECK(r.step_count == 0 || r.sigmas.empty(), "steps and sigmas exclude each other");
  auto sigmas = r.sigmas;
  if (sigmas.empty() && r.step_count == 0) sigmas = preset.sigmas;
  if (sigmas.empty()) {
    const int64_t steps = r.step_count ? r.step_count : preset.step_count;
    const ScheduleSpec& s = spec.schedule;
    switch (s.kind) {
      case ScheduleSpec::Kind::uniform:
        sigmas = uniform_sigmas(steps, s.fixed_shift);
        break;
      case ScheduleSpec::Kind::linear_quadratic:
        sigmas = linear_quadratic_sigmas(steps);
        break;
      case ScheduleSpec::Kind::shifted:
        sigmas = shifted_sigmas(steps, token_count, {s.base_shift, s.max_shift, s.base_tokens, s.max_tokens},
                                s.terminal.value_or(0.0));
        break;
    }
  }
  check_sigmas(sigmas);
  r.step_count = static_cast<int64_t>(sigmas.size());
  return sigmas;
}

void check_conditions(const Request& r) {
  for (const ConditionItem& c : r.conditions) {
    LTXV_CHECK(!c.path.empty(), "a condition has no path");
    LTXV_CHECK(c.frame_index >= 0 && c.frame_index < r.frame_count, "condition ", c.path, ": frame ", c.frame_index,
               " is not between 0 and ", r.frame_count - 1);
    check_range("condition strength", c.strength, 0, 1);
  }
}

}  // namespace

ResolvedRequest resolve(const Request& request, const ModelSpec& spec) {
  const Preset& preset = spec.preset(request.preset);
  ResolvedRequest out;
  out.request = request;
  Request& r = out.request;
  r.preset = preset.name;

  resolve_shape(r, preset, spec.vae.compression);
  out.asked = {r.frame_count, r.height, r.width};
  out.padded = pad_to_grid(out.asked, spec.vae.compression);
  out.latent = latent_shape(out.padded, spec.vae.compression);

  out.sigmas = resolve_sigmas(r, preset, spec, out.latent.token_count());
  r.guidance_scale = or_preset(r.guidance_scale, preset.guidance_scale);
  r.guidance_rescale = or_preset(r.guidance_rescale, preset.guidance_rescale);
  check_range("guidance", *r.guidance_scale, 0, 1000);
  check_range("guidance rescale", *r.guidance_rescale, 0, 1);
  r.seed = or_preset(r.seed, preset.seed);
  r.negative_prompt = or_preset(r.negative_prompt, preset.negative_prompt);

  LTXV_CHECK(r.max_text_tokens >= 0 && r.max_text_tokens <= kMaxTextTokens, "max text tokens ", r.max_text_tokens,
             " is not between 1 and ", kMaxTextTokens);
  if (r.max_text_tokens == 0) r.max_text_tokens = preset.max_text_tokens;

  check_conditions(r);
  r.image_noise_scale = or_preset(r.image_noise_scale, preset.image_noise_scale);
  check_range("image noise scale", *r.image_noise_scale, 0, 10);

  r.decode_timestep = or_preset(r.decode_timestep, preset.decode_timestep);
  r.decode_noise_scale = or_preset(r.decode_noise_scale, preset.decode_noise_scale);
  check_range("decode timestep", *r.decode_timestep, 0, 1);
  check_range("decode noise scale", *r.decode_noise_scale, 0, 1);
  return out;
}

}  // namespace ltxv
