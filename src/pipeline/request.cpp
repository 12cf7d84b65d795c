#include "pipeline/request.h"

#include <algorithm>
#include <cmath>

#include "diffusion/schedule.h"
#include "pipeline/passes.h"

namespace ltxv {
namespace {

constexpr int64_t kMaxSide = 8192, kMaxFrames = 100000, kMaxSteps = 1000, kMaxTextTokens = 4096, kMaxMaskBlend = 64;

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

// Leaves out the steps a request skips; the step after the last kept one goes to 0.
void cut_schedule(Request& r, std::vector<double>& sigmas, bool starts_from_video) {
  const auto count = static_cast<int64_t>(sigmas.size());
  if (r.strength) {
    check_range("strength", *r.strength, 0, 1);
    LTXV_CHECK(!r.input_video_path.empty(), "strength needs an input video");
    LTXV_CHECK(*r.skip_first_steps == 0, "strength and skip-first-steps exclude each other");
    // Source: diffusers pipeline_ltx_condition.py, get_timesteps.
    r.skip_first_steps = count - std::min(static_cast<int64_t>(static_cast<double>(count) * *r.strength), count);
    LTXV_CHECK(*r.skip_first_steps < count, "strength ", *r.strength, " leaves none of the ", count, " steps");
    r.strength.reset();
  }
  const int64_t first = *r.skip_first_steps, last = *r.skip_last_steps;
  LTXV_CHECK(first >= 0 && last >= 0 && first <= kMaxSteps && last <= kMaxSteps && first + last < count, "skipping ", first, " first and ",
             last, " last steps leaves none of the ", count);
  LTXV_CHECK(first == 0 || starts_from_video, "skip-first-steps needs an input video to start from");
  sigmas = std::vector<double>(sigmas.begin() + first, sigmas.end() - last);
}

std::vector<double> resolve_sigmas(Request& r, const Preset& preset, const ModelSpec& spec, int64_t token_count,
                                   bool starts_from_video) {
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
  cut_schedule(r, sigmas, starts_from_video);
  r.step_count = static_cast<int64_t>(sigmas.size());
  return sigmas;
}

// A list with one entry, or one a bin.
template <class T>
const T& bin_entry(const char* option, const std::vector<T>& list, size_t bin, size_t bin_count) {
  LTXV_CHECK(list.size() == 1 || list.size() == bin_count, option, " has ", list.size(), " entries; one, or one for each of the ",
             bin_count, " guidance timesteps is needed (lists that are not given are the preset's)");
  return list.size() == 1 ? list[0] : list[bin];
}

// Source: LTX-Video pipeline_ltx_video.py, __call__: guidance_mapping.
std::vector<StepGuidance> resolve_guidance(Request& r, const std::vector<double>& sigmas, int64_t layer_count) {
  const auto& bins = r.guidance_timesteps;
  for (size_t i = 0; i < bins.size(); ++i) {
    check_range("guidance timestep", bins[i], 0, 1);
    LTXV_CHECK(i == 0 || bins[i] < bins[i - 1], "guidance timesteps must fall: ", bins[i - 1], " is followed by ", bins[i]);
  }
  const size_t bin_count = std::max<size_t>(bins.size(), 1);
  if (r.guidance_scales.empty()) r.guidance_scales = {*r.guidance_scale};
  if (r.guidance_rescales.empty()) r.guidance_rescales = {*r.guidance_rescale};
  if (r.stg_scales.empty()) r.stg_scales = {0};
  if (r.skip_blocks.empty()) r.skip_blocks = {{}};
  if (r.stg_mode.empty()) r.stg_mode = "attention_values";
  LTXV_CHECK(r.stg_mode == "attention_values" || r.stg_mode == "attention_skip" || r.stg_mode == "residual" ||
                 r.stg_mode == "transformer_block",
             "stg-mode \"", r.stg_mode, "\" is not one of attention_values, attention_skip, residual, transformer_block");
  for (const double v : r.guidance_scales) check_range("guidance", v, 0, 1000);
  for (const double v : r.guidance_rescales) check_range("guidance rescale", v, 0, 1);
  for (const double v : r.stg_scales) check_range("stg-scale", v, 0, 1000);
  for (const auto& blocks : r.skip_blocks)
    for (const int64_t b : blocks)
      LTXV_CHECK(b >= -layer_count && b < layer_count, "skip-blocks: ", b, " (given, or of preset \"", r.preset,
                 "\"): this model has blocks 0 to ", layer_count - 1);

  std::vector<StepGuidance> steps;
  for (const double sigma : sigmas) {
    size_t bin = 0;
    // Compared in f32: the released lists meet sigmas of the schedule exactly.
    while (bin + 1 < bins.size() && static_cast<float>(bins[bin]) > static_cast<float>(sigma)) ++bin;
    steps.push_back({bin_entry("guidance", r.guidance_scales, bin, bin_count), bin_entry("stg-scale", r.stg_scales, bin, bin_count),
                     bin_entry("guidance-rescale", r.guidance_rescales, bin, bin_count),
                     bin_entry("skip-blocks", r.skip_blocks, bin, bin_count)});
    LTXV_CHECK(steps.back().stg_scale == 0 || !steps.back().skip_blocks.empty(), "stg-scale ", steps.back().stg_scale, " at noise level ", sigma,
               " changes nothing without skip-blocks, the blocks that its prediction skips, of 0 to ", layer_count - 1);
  }
  return steps;
}

void check_conditions(const Request& r) {
  for (const ConditionItem& c : r.conditions) {
    LTXV_CHECK(!c.path.empty(), "a condition has no path");
    LTXV_CHECK(c.frame_index >= 0 && c.frame_index < r.frame_count, "condition ", c.path, ": frame ", c.frame_index,
               " is not between 0 and ", r.frame_count - 1);
    check_range("condition strength", c.strength, 0, 1);
  }
}

void check_loras(const Request& r) {
  for (const LoraItem& lora : r.loras) {
    LTXV_CHECK(!lora.path.empty(), "a LoRA has no path");
    check_range("LoRA strength", lora.strength, -100, 100);
  }
  check_range("control strength", r.control_strength, 1e-6, 1);
}

void check_mask(const Request& r) {
  if (!r.mask_path.empty()) {
    LTXV_CHECK(!r.input_video_path.empty(), "mask ", r.mask_path, ": a mask needs an input video whose other parts it keeps");
    LTXV_CHECK(!r.outpaint, "mask and outpaint exclude each other: outpainting makes its own mask");
  }
  LTXV_CHECK(!r.outpaint || !r.input_video_path.empty(), "outpaint needs an input video");
  const bool masked = r.outpaint || !r.mask_path.empty();
  LTXV_CHECK(r.mask_blend >= 0 && r.mask_blend <= kMaxMaskBlend, "mask-blend ", r.mask_blend, " is not between 0 and ", kMaxMaskBlend);
  LTXV_CHECK(r.mask_blend == 0 || masked, "mask-blend needs a mask");
  LTXV_CHECK(!r.composite || masked, "composite needs a mask");
}

// Defaults of the reference's long-video pipeline.
void resolve_windows(Request& r, const Compression& grid) {
  WindowOptions& w = r.window;
  if (w.frame_count == 0) {
    LTXV_CHECK(!w.overlap && !w.overlap_strength && !w.match && !w.eta,
               "window-overlap, window-strength, window-match and window-eta need window-frames");
    return;
  }
  const int64_t t = grid.temporal;
  LTXV_CHECK(w.frame_count >= 2 * t && w.frame_count <= kMaxFrames, "window-frames ", w.frame_count, " is not between ", 2 * t, " and ",
             kMaxFrames);
  w.overlap = or_preset<int64_t>(w.overlap, std::min<int64_t>(24, (w.frame_count / t - 1) * t));
  LTXV_CHECK(*w.overlap >= t && *w.overlap / t < w.frame_count / t, "window-overlap ", *w.overlap, " is not between ", t, " and ",
             (w.frame_count / t - 1) * t, ", one latent frame less than the window");
  w.overlap_strength = or_preset(w.overlap_strength, 0.5);
  w.match = or_preset(w.match, 0.25);
  w.eta = or_preset(w.eta, 1.0);
  check_range("window-strength", *w.overlap_strength, 0, 1);
  check_range("window-match", *w.match, 0, 1);
  check_range("window-eta", *w.eta, 0, 1);
  LTXV_CHECK(!*r.stochastic, "window-frames and stochastic exclude each other: windows bring their own sampler");
}

// What the model sees at once of a pass: all of it, or a window.
LatentShape sampled_at_once(const ResolvedRequest& pass, const ModelSpec& spec) {
  LatentShape shape = pass.latent;
  const int64_t window = pass.request.window.frame_count / pass.frame_step / spec.vae.compression.temporal;
  if (pass.request.window.frame_count > 0) shape.frames = std::min(shape.frames, std::max<int64_t>(window, 2));
  return shape;
}

// Last of all, so that whatever a pass takes over from the first one is filled in.
void add_second_pass(ResolvedRequest& out, const Preset& preset, const ModelSpec& spec) {
  auto second = plan_second_pass(out, preset, spec);
  second.sigmas = resolve_sigmas(second.request, preset, spec, sampled_at_once(second, spec).token_count(), /*starts_from_video=*/true);
  second.guidance = resolve_guidance(second.request, second.sigmas, spec.transformer.layer_count);
  second.first_step = out.all_steps;
  second.all_steps = out.all_steps += second.request.step_count;
  out.second_pass.push_back(std::move(second));
}

}  // namespace

WindowSizes window_sizes(const ResolvedRequest& pass, const Compression& grid) {
  const WindowOptions& w = pass.request.window;
  const int64_t unit = grid.temporal * pass.frame_step;
  const int64_t size = std::max<int64_t>(w.frame_count / unit, 2);
  return {size, std::clamp<int64_t>(*w.overlap / unit, 1, size - 1)};
}

ResolvedRequest resolve(const Request& request, const ModelSpec& spec) {
  const Preset& preset = pick_preset(request, spec);
  ResolvedRequest out;
  out.request = request;
  Request& r = out.request;
  r.preset = preset.name;

  resolve_shape(r, preset, spec.vae.compression);
  out.asked = {r.frame_count, r.height, r.width};
  out.padded = pad_to_grid(out.asked, spec.vae.compression);
  plan_first_pass(out, preset, spec);

  apply_preset_pass(r, preset);
  out.sigmas = resolve_sigmas(r, preset, spec, sampled_at_once(out, spec).token_count(), !r.input_video_path.empty());
  r.guidance_scale = or_preset(r.guidance_scale, preset.guidance_scale);
  r.guidance_rescale = or_preset(r.guidance_rescale, preset.guidance_rescale);
  out.guidance = resolve_guidance(r, out.sigmas, spec.transformer.layer_count);
  r.seed = or_preset(r.seed, preset.seed);
  r.negative_prompt = or_preset(r.negative_prompt, preset.negative_prompt);

  LTXV_CHECK(r.max_text_tokens >= 0 && r.max_text_tokens <= kMaxTextTokens, "max text tokens ", r.max_text_tokens,
             " is not between 1 and ", kMaxTextTokens);
  if (r.max_text_tokens == 0) r.max_text_tokens = preset.max_text_tokens;

  check_conditions(r);
  check_loras(r);
  check_mask(r);
  resolve_windows(r, spec.vae.compression);
  // Noise on kept tokens stays in the result. On an image to start from it is wanted; what a mask keeps is to come back as it was.
  const bool masked = r.outpaint || !r.mask_path.empty();
  r.image_noise_scale = or_preset(r.image_noise_scale, masked ? 0.0 : preset.image_noise_scale);
  check_range("image noise scale", *r.image_noise_scale, 0, 10);

  r.decode_timestep = or_preset(r.decode_timestep, preset.decode_timestep);
  r.decode_noise_scale = or_preset(r.decode_noise_scale, preset.decode_noise_scale);
  check_range("decode timestep", *r.decode_timestep, 0, 1);
  check_range("decode noise scale", *r.decode_noise_scale, 0, 1);
  LTXV_CHECK(!r.image_crf || r.image_prep == ImagePrep::official, "image-crf needs image-prep official");
  r.image_crf = or_preset<int64_t>(r.image_crf, 29);
  LTXV_CHECK(*r.image_crf >= 0 && *r.image_crf <= 51, "image-crf ", *r.image_crf, " is not between 0 and 51");

  out.all_steps = r.step_count;
  if (r.pass_count == 2) add_second_pass(out, preset, spec);
  return out;
}

}  // namespace ltxv
