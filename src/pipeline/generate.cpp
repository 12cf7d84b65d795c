// From a request to frames: one straight line of named steps. Everything that can be refused is refused before the first weight is
// read.
#include <algorithm>
#include <functional>

#include "pipeline/expected_draws.h"
#include "pipeline/frame_stream.h"
#include "pipeline/long_video.h"
#include "pipeline/masked_media.h"
#include "pipeline/media_io.h"
#include "pipeline/run_record.h"
#include "pipeline/stages.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

// One pass from its noise to clean latents f32 [1,C,T,H,W].
at::Tensor sample_pass(Engine::Impl& engine, const ResolvedRequest& pass, const RunMedia& media, const Prompts& prompts,
                       uint64_t condition_hash, NoiseSource& noise, const PlacementPlan& plan, RunContext& run) {
  const StartState start = start_stage(engine, pass, media, noise, plan, run);
  SamplerState state{.tokens = start.tokens,
                     .clean_tokens = start.strength.defined() ? start.tokens : at::Tensor(),
                     .strength = start.strength,
                     .seed = *pass.request.seed,
                     .condition_hash = condition_hash};
  state.sigmas.assign(pass.sigmas.begin(), pass.sigmas.end());
  state.sigmas.push_back(0.0f);
  denoise_stage(engine, state, start.coordinates, prompts, pass, noise, plan, run);
  return to_volume(state.tokens.narrow(1, start.extra_tokens, pass.latent.token_count()), pass.latent);
}

uint64_t hash_of(const std::string& settings) { return std::hash<std::string>{}(settings); }

}  // namespace

GenerateResult Engine::generate(const Request& request, const RunHooks& hooks, const FrameSink* sink) {
  const ComputeScope scope(*impl_);
  RunContext run(hooks);
  const ModelSpec& spec = impl_->spec;

  const ResolvedRequest resolved = resolve(request, spec);
  const Request& r = resolved.request;
  for (const auto& path : {r.save_latents_path, r.save_noise_path})
    if (!path.empty()) check_output_path(path);
  for (const std::string& remark : spec.remarks) run.log(LogLevel::warning, remark);
  if (r.window.frame_count > 0) return generate_long(*impl_, resolved, sink, run);
  const ResolvedRequest& last = resolved.last_pass();
  const bool two_passes = &last != &resolved;
  const PlacementPlan plan = impl_->plan(last.latent, std::max(most_predictions(resolved), most_predictions(last)));
  impl_->warn_of_memory(plan, run);
  NoiseSource noise = open_noise(r.noise_path, *r.seed);
  RunMedia media, last_media;
  FittedVideo kept;
  {
    MediaFiles files;
    media = read_media(files, resolved, spec);
    read_adaptation(*impl_, files, resolved, media, run);
    if (two_passes) last_media = read_media(files, last, spec);
    if (two_passes) read_adaptation(*impl_, files, last, last_media, run);
    if (r.composite) kept = read_kept_pixels(files, last, {0, last.asked.frames});
  }
  check_draws(noise, pass_draws(resolved, media, spec, ""));
  if (two_passes) check_draws(noise, pass_draws(last, last_media, spec, "pass2_"));
  check_draws(noise, decode_draws(last, last.latent, spec));

  // Text.
  run.report(Stage::text, 0, 1);
  Prompts prompts{.positive = prompt_embeds(*impl_, r.prompt, r.prompt_embeds_path, r, plan, run), .negative = {}};
  if (needs_negative(resolved) || needs_negative(last))
    prompts.negative = prompt_embeds(*impl_, *r.negative_prompt, r.negative_prompt_embeds_path, r, plan, run);
  impl_->weights.stage_done(Component::text_encoder, plan);
  run.report(Stage::text, 1, 1);

  // Denoise, twice where the first pass's latents are enlarged in between.
  GenerateResult result{.resolved = resolved, .metadata_json = run_record(*impl_, resolved)};
  const uint64_t hash = hash_of(result.metadata_json);
  result.latents = sample_pass(*impl_, resolved, media, prompts, hash, noise, plan, run);
  if (two_passes) {
    impl_->weights.stage_done(Component::transformer, plan);  // not beside the upsampler and the encoder where memory is short
    last_media.video_latents = upscale_stage(*impl_, result.latents, *last.request.second_pass.adain, plan, run);
    noise.set_prefix("pass2_");
    result.latents = sample_pass(*impl_, last, last_media, prompts, hash, noise, plan, run);
    noise.set_prefix("");
  }
  impl_->weights.stage_done(Component::transformer, plan);
  if (!r.save_latents_path.empty()) save_tensors(r.save_latents_path, {{"latents", result.latents}});

  // Decode. Frames go to a file as they are finished; without one they are all of the result.
  FrameStream stream(last, sink, kept);
  const std::function<void(const at::Tensor&)> take = [&](const at::Tensor& frames) { stream.take(frames); };
  if (sink) sink->begin(resolved, result.metadata_json);
  const double tone_map = last.request.second_pass.tone_map.value_or(0);
  const auto frames = decode_stage(*impl_, result.latents, {*r.decode_timestep, *r.decode_noise_scale, r.decode_noise_space, tone_map}, noise,
                                   plan, run, sink ? take : nullptr);
  impl_->weights.stage_done(Component::vae_decoder, plan);
  if (!sink) take(frames), result.frames = stream.collected();
  if (!r.save_noise_path.empty()) save_tensors(r.save_noise_path, noise.drawn());
  return result;
}

}  // namespace ltxv
