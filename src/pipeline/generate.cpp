// From a request to frames: one straight line of named steps. Everything that can be refused is refused before the first weight is
// read.
#include <functional>
#include <utility>

#include "pipeline/long_video.h"
#include "pipeline/media_io.h"
#include "pipeline/run_record.h"
#include "pipeline/stages.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

uint64_t hash_of(const std::string& settings) { return std::hash<std::string>{}(settings); }

}  // namespace

GenerateResult Engine::generate(const Request& request, const RunHooks& hooks, const FrameSink* sink) {
  const ComputeScope scope(impl_->thread_count);
  RunContext run(hooks);
  const ModelSpec& spec = impl_->spec;

  const ResolvedRequest resolved = resolve(request, spec);
  const Request& r = resolved.request;
  for (const auto& path : {r.save_latents_path, r.save_noise_path})
    if (!path.empty()) check_output_path(path);
  for (const std::string& remark : spec.remarks) run.log(LogLevel::warning, remark);
  if (r.window.frame_count > 0) return generate_long(*impl_, resolved, sink, run);
  const PlacementPlan plan = impl_->plan(resolved.latent, most_passes(resolved));
  NoiseSource noise = open_noise(r.noise_path, *r.seed);
  RunMedia media = read_media(resolved, spec);
  read_adaptation(*impl_, resolved, media, run);

  // Text.
  run.report(Stage::text, 0, 1);
  Prompts prompts{.positive = prompt_embeds(*impl_, r.prompt, r.prompt_embeds_path, r, plan, run), .negative = {}};
  if (needs_negative(resolved)) prompts.negative = prompt_embeds(*impl_, *r.negative_prompt, r.negative_prompt_embeds_path, r, plan, run);
  impl_->weights.stage_done(Component::text_encoder, plan);
  run.report(Stage::text, 1, 1);

  // Start.
  const StartState start = start_stage(*impl_, resolved, media, noise, plan, run);
  GenerateResult result{.resolved = resolved, .metadata_json = run_record(*impl_, resolved)};
  SamplerState state{.tokens = start.tokens,
                     .clean_tokens = start.strength.defined() ? start.tokens : at::Tensor(),
                     .strength = start.strength,
                     .seed = *r.seed,
                     .condition_hash = hash_of(result.metadata_json)};
  state.sigmas.assign(resolved.sigmas.begin(), resolved.sigmas.end());
  state.sigmas.push_back(0.0f);

  // Denoise.
  denoise_stage(*impl_, state, start.coordinates, prompts, resolved, noise, plan, run);
  impl_->weights.stage_done(Component::transformer, plan);
  result.latents = to_volume(state.tokens.narrow(1, start.extra_tokens, resolved.latent.token_count()), resolved.latent);
  if (!r.save_latents_path.empty()) save_tensors(r.save_latents_path, {{"latents", result.latents}});

  // Decode.
  const auto frames =
      decode_stage(*impl_, result.latents, {*r.decode_timestep, *r.decode_noise_scale, r.decode_noise_space}, noise, plan, run);
  impl_->weights.stage_done(Component::vae_decoder, plan);
  result.frames = crop_to_asked(r.composite ? composite(frames, media.original, media.mask) : frames, resolved);
  if (!r.save_noise_path.empty()) save_tensors(r.save_noise_path, noise.drawn());
  if (sink) {
    sink->begin(resolved, result.metadata_json);
    sink->write(std::exchange(result.frames, at::Tensor()));
  }
  return result;
}

}  // namespace ltxv
