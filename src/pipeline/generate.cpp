// From a request to frames: one straight line of named steps. Everything that can be refused is refused before the first weight is
// read.
#include <cmath>
#include <functional>

#include "diffusion/conditioning.h"
#include "diffusion/guidance.h"
#include "diffusion/sampler.h"
#include "pipeline/engine_impl.h"
#include "pipeline/media_io.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

ComputeType type_of(const PlacementPlan& plan, Component component) { return plan.types[static_cast<int>(component)]; }

PromptEmbeds prompt_embeds(Engine::Impl& engine, const std::string& prompt, const std::string& file, int64_t max_tokens,
                           const PlacementPlan& plan, const RunContext& run) {
  if (!file.empty()) return load_prompt_embeds(file);
  return encode_prompt(engine, prompt, max_tokens, Padding::drop, type_of(plan, Component::text_encoder), run);
}

// [1,C,T,H,W], whichever layout the generator drew.
at::Tensor initial_noise(NoiseSource& noise, NoiseKind kind, int64_t channels, const LatentShape& shape) {
  if (kind == NoiseKind::torch_tokens) return to_volume(noise.draw("initial", {1, shape.token_count(), channels}), shape);
  return noise.draw("initial", {1, channels, shape.frames, shape.height, shape.width});
}

std::vector<at::Tensor> read_conditions(const ResolvedRequest& resolved, const Compression& compression) {
  std::vector<at::Tensor> pixels;
  for (const ConditionItem& item : resolved.request.conditions) pixels.push_back(read_condition(item, resolved, compression));
  return pixels;
}

std::vector<EncodedCondition> encode_conditions(Engine::Impl& engine, const std::vector<ConditionItem>& items,
                                                const std::vector<at::Tensor>& pixels, const PlacementPlan& plan, RunContext& run) {
  std::vector<EncodedCondition> encoded;
  const auto count = static_cast<int64_t>(items.size());
  for (int64_t i = 0; i < count; ++i) {
    run.report(Stage::encode, i, count);
    const auto encoder = engine.weights.vae_encoder(type_of(plan, Component::vae_encoder));
    encoded.push_back({encoder->encode(pixels[i], run), items[i].frame_index, items[i].strength});
  }
  if (count > 0) {
    engine.weights.stage_done(Component::vae_encoder, plan);
    run.report(Stage::encode, count, count);
  }
  return encoded;
}

uint64_t hash_of(const std::string& settings) { return std::hash<std::string>{}(settings); }

}  // namespace

GenerateResult Engine::generate(const Request& request, const RunHooks& hooks) {
  const ComputeScope scope(impl_->thread_count);
  RunContext run(hooks);
  const ModelSpec& spec = impl_->spec;

  const ResolvedRequest resolved = resolve(request, spec);
  const Request& r = resolved.request;
  for (const auto& path : {r.save_latents_path, r.save_noise_path})
    if (!path.empty()) check_output_path(path);
  const GuidanceSettings guidance{.scale = *r.guidance_scale, .cfg_rescale = *r.guidance_rescale};
  const int64_t pass_count = guidance.needs_negative() ? 2 : 1;
  const PlacementPlan plan = impl_->plan(resolved.latent, pass_count);
  NoiseSource noise = open_noise(r.noise_path, *r.seed);
  const auto condition_pixels = read_conditions(resolved, spec.vae.compression);

  // Text.
  run.report(Stage::text, 0, 1);
  const auto positive = prompt_embeds(*impl_, r.prompt, r.prompt_embeds_path, r.max_text_tokens, plan, run);
  const auto negative = guidance.needs_negative()
                            ? prompt_embeds(*impl_, *r.negative_prompt, r.negative_prompt_embeds_path, r.max_text_tokens, plan, run)
                            : PromptEmbeds{};
  impl_->weights.stage_done(Component::text_encoder, plan);
  run.report(Stage::text, 1, 1);

  // Start.
  const FrameRule rule = spec.transformer.causal_positions ? FrameRule::causal : FrameRule::plain;
  const auto start_volume = initial_noise(noise, r.noise_kind, spec.vae.latent_channels, resolved.latent);
  const auto conditions = encode_conditions(*impl_, r.conditions, condition_pixels, plan, run);
  const StartState start = apply_conditions(start_volume, conditions, spec.vae.compression, rule, noise);
  GenerateResult result{.resolved = resolved, .metadata_json = to_json(resolved, spec)};
  SamplerState state{.tokens = start.tokens,
                     .clean_tokens = start.strength.defined() ? start.tokens : at::Tensor(),
                     .strength = start.strength,
                     .seed = *r.seed,
                     .condition_hash = hash_of(result.metadata_json)};
  state.sigmas.assign(resolved.sigmas.begin(), resolved.sigmas.end());
  state.sigmas.push_back(0.0f);

  // Denoise.
  {
    const auto transformer = impl_->weights.transformer(type_of(plan, Component::transformer));
    const RopeTable rope = make_rope_table(to_positions(start.coordinates, r.frames_per_second), transformer->config());
    const PromptContext positive_context = transformer->prepare_prompt(positive.embeds, positive.mask);
    const PromptContext negative_context =
        guidance.needs_negative() ? transformer->prepare_prompt(negative.embeds, negative.mask) : PromptContext{};
    std::vector<const PromptContext*> prompts;
    if (guidance.needs_negative()) prompts.push_back(&negative_context);
    prompts.push_back(&positive_context);

    while (!state.finished()) {
      run.report(Stage::denoise, state.step, state.step_count());
      if (state.strength.defined() && *r.image_noise_scale > 0)
        renoise_kept_tokens(state, *r.image_noise_scale, noise.draw(indexed_name("image_step", state.step), state.tokens.sizes()));
      const auto sigmas = token_sigmas(state);
      const auto passes =
          transformer->forward({.tokens = state.tokens, .sigmas = sigmas, .rope = rope, .prompts = prompts}, run);
      const auto velocity = combine_guidance(passes.narrow(0, pass_count - 1, 1),
                                             pass_count > 1 ? passes.narrow(0, 0, 1) : at::Tensor(), {}, guidance);
      euler_step(state, velocity);
      state.draw_count = static_cast<int64_t>(noise.drawn().size());
      LTXV_REQUIRE(NumericError, std::isfinite(state.tokens.sum().item<float>()), "latents became NaN or Inf at step ", state.step,
                   " of ", state.step_count());
    }
    run.report(Stage::denoise, state.step, state.step_count());
  }
  impl_->weights.stage_done(Component::transformer, plan);
  result.latents = to_volume(state.tokens.narrow(1, start.extra_tokens, resolved.latent.token_count()), resolved.latent);
  if (!r.save_latents_path.empty()) save_tensors(r.save_latents_path, {{"latents", result.latents}});

  // Decode.
  const auto frames =
      decode_stage(*impl_, result.latents, *r.decode_timestep, *r.decode_noise_scale, noise, plan, run);
  impl_->weights.stage_done(Component::vae_decoder, plan);
  result.frames = crop_to_asked(frames, resolved);
  if (!r.save_noise_path.empty()) save_tensors(r.save_noise_path, noise.drawn());
  return result;
}

}  // namespace ltxv
