#include "base/transfer.h"
#include "diffusion/mask.h"
#include "pipeline/masked_media.h"
#include "pipeline/media_io.h"
#include "pipeline/stages.h"

namespace ltxv {
namespace {

// [1,C,T,H,W], whichever layout the generator drew.
at::Tensor initial_noise(NoiseSource& noise, NoiseKind kind, int64_t channels, const LatentShape& shape) {
  if (kind == NoiseKind::torch_tokens) return to_volume(noise.draw("initial", {1, shape.token_count(), channels}), shape);
  return noise.draw("initial", {1, channels, shape.frames, shape.height, shape.width});
}

std::vector<EncodedCondition> encode_conditions(Engine::Impl& engine, const std::vector<ConditionItem>& items,
                                                const std::vector<at::Tensor>& pixels, int64_t frame_step, const PlacementPlan& plan,
                                                RunContext& run) {
  std::vector<EncodedCondition> encoded;
  const auto count = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count; ++i) {
    run.report(Stage::encode, i, count);
    const auto encoder = engine.weights.vae_encoder(plan);
    encoded.push_back({to_host(encoder->encode(pixels[i], run, plan.vae_volume_elements)), items[i].frame_index / frame_step, items[i].strength});
  }
  if (count > 0) {
    engine.weights.stage_done(Component::vae_encoder, plan);
    run.report(Stage::encode, count, count);
  }
  return encoded;
}

StartVolume mix_input_video(Engine::Impl& engine, const ResolvedRequest& resolved, const RunMedia& media, const at::Tensor& noise,
                            const PlacementPlan& plan, RunContext& run) {
  if (!media.video_pixels.defined() && !media.video_latents.defined()) return noise;
  const auto kept = media.mask.defined()
                        ? kept_strength(media.mask, engine.spec.vae.compression, resolved.request.mask_blend)
                        : at::Tensor();
  auto latents = media.video_latents;
  if (media.video_pixels.defined()) {
    run.report(Stage::encode, 0, 1);
    const auto encoded = to_host(engine.weights.vae_encoder(plan)->encode(media.video_pixels, run, plan.vae_volume_elements));
    run.report(Stage::encode, 1, 1);
    // Of both, the pixels are what is kept: as far as it is, since what a grey mask changed before is to stay changed.
    latents = latents.defined() ? kept_over(encoded, latents, kept) : encoded;
  }
  return {mix_with_noise(latents, noise, resolved.sigmas.front(), kept), kept};
}

}  // namespace

at::Tensor read_video_latents(MediaFiles& files, const ResolvedRequest& resolved, const ModelSpec& spec) {
  const std::string& path = resolved.request.input_video_path;
  if (!is_tensor_file(path) || resolved.request.outpaint) return {};
  if (!files[path].find_tensor("latents")) return {};
  LTXV_CHECK(!resolved.request.composite, path, ": holds latents; composite needs an input video with pixels");
  LTXV_CHECK(resolved.request.pass_count < 2 || !keeps_parts(resolved.request), path,
             ": holds latents of one size; a mask in two passes needs an input video with pixels, to keep them at both sizes");
  const LatentShape& l = resolved.latent;
  const auto latents = files[path].tensor("latents", spec.vae.latent_channels, {});
  LTXV_CHECK(latents.sizes() == at::IntArrayRef({1, spec.vae.latent_channels, l.frames, l.height, l.width}), path, ": latents are ",
             latents.sizes(), ", this run needs [1, ", spec.vae.latent_channels, ", ", l.frames, ", ", l.height, ", ", l.width, "]");
  return latents;
}

RunMedia read_media(MediaFiles& files, const ResolvedRequest& resolved, const ModelSpec& spec) {
  RunMedia media;
  for (const ConditionItem& item : resolved.request.conditions)
    media.conditions.push_back(read_condition(files, item, resolved, spec.vae.compression));
  const Request& r = resolved.request;
  if (r.input_video_path.empty()) return media;
  if (!r.mask_path.empty()) check_mask_file(files, r.mask_path, resolved);
  if (keeps_parts(r)) media.mask = read_pass_mask(files, resolved, all_frames(resolved));
  media.video_latents = read_video_latents(files, resolved, spec);
  if (!media.video_latents.defined()) media.video_pixels = read_pass_frames(files, resolved, all_frames(resolved));
  return media;
}

at::Tensor encode_media(Engine::Impl& engine, const at::Tensor& pixels, const PlacementPlan& plan, RunContext& run) {
  run.report(Stage::encode, 0, 1);
  const auto latents = to_host(engine.weights.vae_encoder(plan)->encode(pixels, run, plan.vae_volume_elements));
  engine.weights.stage_done(Component::vae_encoder, plan);
  run.report(Stage::encode, 1, 1);
  return latents;
}

FrameRule frame_rule(const ResolvedRequest& resolved, const ModelSpec& spec) {
  const FramePositions asked = resolved.request.frame_positions;
  const bool causal = asked == FramePositions::model ? spec.transformer.causal_positions : asked == FramePositions::causal;
  return causal ? FrameRule::causal : FrameRule::plain;
}

StartState start_stage(Engine::Impl& engine, const ResolvedRequest& resolved, const RunMedia& media, NoiseSource& noise,
                       const PlacementPlan& plan, RunContext& run) {
  const ModelSpec& spec = engine.spec;
  const Request& r = resolved.request;
  const auto drawn = initial_noise(noise, r.noise_kind, spec.vae.latent_channels, resolved.latent);
  const auto start = mix_input_video(engine, resolved, media, drawn, plan, run);
  const auto conditions = encode_conditions(engine, r.conditions, media.conditions, resolved.frame_step, plan, run);
  if (conditions.empty() && media.video_pixels.defined()) engine.weights.stage_done(Component::vae_encoder, plan);
  auto state = apply_conditions(start, conditions, spec.vae.compression, frame_rule(resolved, spec), noise);
  add_control(engine, resolved, media, state, noise, plan, run);
  return state;
}

}  // namespace ltxv
