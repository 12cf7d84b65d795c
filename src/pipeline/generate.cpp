// From a request to frames: one straight line of named steps. Everything that can be refused is refused before the first weight is
// read.
#include <algorithm>
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

GuidanceSettings settings_of(const StepGuidance& g, const Request& r) {
  // One option, two meanings: in a run with spatio-temporal guidance the official rescaling (1 = off, and steps without that
  // guidance are not rescaled), else diffusers' (0 = off).
  const bool official = std::any_of(r.stg_scales.begin(), r.stg_scales.end(), [](double scale) { return scale > 0; });
  return {.scale = g.scale,
          .cfg_rescale = official ? 0 : g.rescale,
          .stg_scale = g.stg_scale,
          .stg_rescale = official ? g.rescale : 1,
          .cfg_star = r.cfg_star};
}

int64_t most_passes(const ResolvedRequest& resolved) {
  int64_t most = 1;
  for (const StepGuidance& g : resolved.guidance) {
    const auto settings = settings_of(g, resolved.request);
    most = std::max<int64_t>(most, 1 + settings.needs_negative() + settings.needs_perturbed());
  }
  return most;
}

SkipMode skip_mode_of(const std::string& name) {
  if (name == "attention_skip") return SkipMode::attention_skip;
  if (name == "residual") return SkipMode::residual;
  if (name == "transformer_block") return SkipMode::transformer_block;
  return SkipMode::attention_values;
}

struct Prompts {
  const PromptContext &positive, &negative;
};

// All passes of one step in one call, negative, positive, perturbed, and what guidance makes of them.
at::Tensor guided_velocity(const Transformer& transformer, const Prompts& prompts, const RopeTable& rope, const SamplerState& state,
                           const ResolvedRequest& resolved, const RunContext& run) {
  const StepGuidance& step = resolved.guidance[state.step];
  const GuidanceSettings guidance = settings_of(step, resolved.request);
  const Perturbation perturbation{step.skip_blocks, skip_mode_of(resolved.request.stg_mode)};
  std::vector<const PromptContext*> passes;
  if (guidance.needs_negative()) passes.push_back(&prompts.negative);
  passes.push_back(&prompts.positive);
  if (guidance.needs_perturbed()) passes.push_back(&prompts.positive);
  const auto sigmas = token_sigmas(state);
  const auto out = transformer.forward({.tokens = state.tokens,
                                        .sigmas = sigmas,
                                        .rope = rope,
                                        .prompts = passes,
                                        .perturbation = guidance.needs_perturbed() ? &perturbation : nullptr},
                                       run);
  const int64_t positive = guidance.needs_negative() ? 1 : 0;
  return combine_guidance(out.narrow(0, positive, 1), guidance.needs_negative() ? out.narrow(0, 0, 1) : at::Tensor(),
                          guidance.needs_perturbed() ? out.narrow(0, positive + 1, 1) : at::Tensor(), guidance);
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

// What a run starts from instead of pure noise: latents, or pixels still to be encoded.
struct InputVideo {
  at::Tensor pixels, latents;
};

InputVideo read_input_video(const ResolvedRequest& resolved, const ModelSpec& spec) {
  const std::string& path = resolved.request.input_video_path;
  if (path.empty()) return {};
  const LatentShape& l = resolved.latent;
  if (path.ends_with(".safetensors")) {
    const auto tensors = load_tensors(path);
    if (const auto it = tensors.find("latents"); it != tensors.end()) {
      const auto latents = it->second.to(at::kFloat);
      LTXV_CHECK(latents.sizes() == at::IntArrayRef({1, spec.vae.latent_channels, l.frames, l.height, l.width}), path, ": latents are ",
                 latents.sizes(), ", this run needs [1, ", spec.vae.latent_channels, ", ", l.frames, ", ", l.height, ", ", l.width, "]");
      return {{}, latents};
    }
  }
  const auto pixels = read_condition({.path = path}, resolved, spec.vae.compression);
  LTXV_CHECK(pixels.size(2) == resolved.padded.frames, path, ": ", pixels.size(2), " usable frames, this run needs ",
             resolved.padded.frames);
  return {pixels, {}};
}

// Source: LTX-Video pipeline_ltx_video.py, prepare_latents: sigma * noise + (1 - sigma) * latents.
at::Tensor mix_input_video(Engine::Impl& engine, const InputVideo& input, const at::Tensor& noise, double sigma,
                           const PlacementPlan& plan, RunContext& run) {
  if (!input.pixels.defined() && !input.latents.defined()) return noise;
  const auto latents = input.latents.defined()
                           ? input.latents
                           : engine.weights.vae_encoder(type_of(plan, Component::vae_encoder))->encode(input.pixels, run);
  const auto level = static_cast<float>(sigma);
  return noise * level + latents * (1.0f - level);
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
  const bool wants_negative = std::any_of(resolved.guidance.begin(), resolved.guidance.end(),
                                          [&](const StepGuidance& g) { return settings_of(g, r).needs_negative(); });
  const PlacementPlan plan = impl_->plan(resolved.latent, most_passes(resolved));
  NoiseSource noise = open_noise(r.noise_path, *r.seed);
  const auto condition_pixels = read_conditions(resolved, spec.vae.compression);
  const InputVideo input = read_input_video(resolved, spec);

  // Text.
  run.report(Stage::text, 0, 1);
  const auto positive = prompt_embeds(*impl_, r.prompt, r.prompt_embeds_path, r.max_text_tokens, plan, run);
  const auto negative = wants_negative
                            ? prompt_embeds(*impl_, *r.negative_prompt, r.negative_prompt_embeds_path, r.max_text_tokens, plan, run)
                            : PromptEmbeds{};
  impl_->weights.stage_done(Component::text_encoder, plan);
  run.report(Stage::text, 1, 1);

  // Start.
  const FrameRule rule = spec.transformer.causal_positions ? FrameRule::causal : FrameRule::plain;
  const auto start_volume = mix_input_video(*impl_, input, initial_noise(noise, r.noise_kind, spec.vae.latent_channels, resolved.latent),
                                            resolved.sigmas.front(), plan, run);
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
        wants_negative ? transformer->prepare_prompt(negative.embeds, negative.mask) : PromptContext{};
    const Prompts prompts{positive_context, negative_context};

    while (!state.finished()) {
      run.report(Stage::denoise, state.step, state.step_count());
      if (state.strength.defined() && *r.image_noise_scale > 0)
        renoise_kept_tokens(state, *r.image_noise_scale, noise.draw(indexed_name("image_step", state.step), state.tokens.sizes()));
      const auto velocity = guided_velocity(*transformer, prompts, rope, state, resolved, run);
      if (r.stochastic) {
        stochastic_step(state, velocity, noise.draw(indexed_name("stochastic", state.step), state.tokens.sizes()));
      } else {
        euler_step(state, velocity);
      }
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
