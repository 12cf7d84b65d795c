#include "pipeline/long_video.h"

#include <algorithm>
#include <cmath>

#include "base/transfer.h"
#include "diffusion/latent_filters.h"
#include "diffusion/windows.h"
#include "pipeline/frame_stream.h"
#include "pipeline/piece_decoder.h"
#include "pipeline/run_record.h"
#include "pipeline/stages.h"
#include "pipeline/tensor_files.h"
#include "pipeline/window_pass.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

constexpr int64_t kUpscaleContext = 4;  // latent frames on both sides of what is enlarged: as many as the decoder's pieces have

// Embeddings of every prompt that a window will use; one pair a prompt.
std::vector<Prompts> encode_prompts(Engine::Impl& engine, const ResolvedRequest& resolved, size_t window_count,
                                    const PlacementPlan& plan, RunContext& run) {
  const Request& r = resolved.request;
  const bool from_files = !r.prompt_embeds_path.empty();
  auto texts = split_prompts(from_files ? r.prompt_embeds_path : r.prompt);
  if (texts.size() > window_count) {
    run.log(LogLevel::warning, text("there are ", texts.size(), " prompts for ", window_count, " windows; the last ",
                                    texts.size() - window_count, " are not used"));
    texts.resize(window_count);
  }
  std::vector<Prompts> prompts;
  if (from_files)  // all of them before any work
    for (const std::string& path : texts) prompts.push_back({load_prompt_embeds(path), {}});
  PromptEmbeds negative;
  if (needs_negative(resolved) || needs_negative(resolved.last_pass()))
    negative = prompt_embeds(engine, *r.negative_prompt, r.negative_prompt_embeds_path, r, plan, run);
  const auto count = static_cast<int64_t>(texts.size());
  for (int64_t i = 0; i < count; ++i) {
    run.report(Stage::text, i, count);
    if (!from_files) prompts.push_back({prompt_embeds(engine, texts[i], "", r, plan, run), {}});
    prompts[i].negative = negative;
  }
  engine.weights.stage_done(Component::text_encoder, plan);
  run.report(Stage::text, count, count);
  return prompts;
}

// What all windows of a run share.
struct LongRun {
  Engine::Impl& engine;
  const PlacementPlan& plan;
  RunContext& run;
  const std::vector<Prompts>& prompts;
  const std::vector<Window>& windows_of_result;
  int64_t all_steps;
  int64_t& steps_done;  // of both passes, whose windows take turns
  NoiseSource& common;  // the decoder's draws, and every one when they come from a file
  bool draws_from_file;
  std::map<std::string, at::Tensor>* keep_draws;  // null: nobody asked for them

  // One prompt for each window of the result; a pass at a lower rate has fewer windows.
  const Prompts& prompts_of(const WindowPass& pass, size_t index) const {
    const int64_t begin = pass.windows[index].begin * pass.resolved.frame_step;
    size_t window = 0;
    while (window + 1 < windows_of_result.size() && windows_of_result[window + 1].begin <= begin) ++window;
    return prompts[std::min(window, prompts.size() - 1)];
  }
};

// Tokens of one window after all steps.
at::Tensor sample_window(const LongRun& all, const WindowPass& pass, size_t index, WindowTokens window, NoiseSource& noise) {
  const Request& r = pass.resolved.request;
  const auto& sigmas = pass.resolved.sigmas;
  Predictor predictor(all.engine, window.coordinates, all.prompts_of(pass, index), pass.resolved, all.plan);
  const std::string name = indexed_name("window", static_cast<int64_t>(index));
  const LatentShape& shape = window.shape;
  const int64_t tokens = window.clean.size(1), channels = window.clean.size(2);
  const bool as_tokens = r.noise_kind == NoiseKind::torch_tokens || shape.frames == 0;
  auto drawn = as_tokens ? noise.draw(name + "_initial", {1, tokens, channels})
                         : to_tokens(noise.draw(name + "_initial", {1, channels, shape.frames, shape.height, shape.width}));
  if (window.start.defined()) drawn = drawn * sigmas[0] + window.start * (1 - sigmas[0]);
  window.clean = to_device(window.clean, predictor.device());
  const at::Tensor freedom = window.freedom;  // on the host, as noise levels are
  window.freedom = to_device(freedom, predictor.device());
  auto x = blend_kept(to_device(drawn, predictor.device()), window);
  const auto step_count = static_cast<int64_t>(sigmas.size());
  StepWatch watch(step_count, text(" of window ", index + 1));
  for (int64_t i = 0; i < step_count; ++i) {
    all.run.report(Stage::denoise, all.steps_done++, all.all_steps);
    const auto sigma = static_cast<float>(sigmas[i]);
    const float next = i + 1 < step_count ? static_cast<float>(sigmas[i + 1]) : 0.0f;
    const auto levels = (freedom * sigma).flatten();
    const auto velocity = ops::guided_velocity(predictor.predict({x, levels, i}, all.run));
    const auto fresh = next > 0 && *r.window.eta > 0
                           ? to_device(noise.draw(indexed_name(name + "_stochastic", i), x.sizes()), predictor.device())
                           : at::Tensor();
    // Blended before and after the step, but behind the model: the reference's order, which the soft tokens depend on.
    x = blend_kept(ancestral_step(blend_kept(x, window), velocity, sigma, next, *r.window.eta, fresh), window);
    watch.done(i + 1, x);
  }
  watch.finish();
  return to_host(x);
}

// What the upsamplers make of the first pass where `window` lies.
at::Tensor enlarged_part(const LongRun& all, const WindowPass& pass, const Window& window) {
  const int64_t step = pass.smaller_step;
  const int64_t begin = std::max<int64_t>(window.begin / step - kUpscaleContext, 0);
  const int64_t end = std::min((window.end - 1 + step - 1) / step + 1 + kUpscaleContext, pass.smaller_frames);
  const auto enlarged = upscale_stage(all.engine, pass.smaller(begin, end),
                                      *pass.resolved.request.second_pass.adain, all.plan, all.run);
  return enlarged.narrow(2, window.begin - begin * step, window.end - window.begin);
}

// The windows of one pass, made one after the other.
class WindowMaker {
 public:
  WindowMaker(const LongRun& all, WindowPass& pass) : all_(all), pass_(pass) {}
  bool finished() const { return next_ == pass_.windows.size(); }
  /// Makes the next window. Latents [1,C,t,H,W] that no later one changes; undefined where there are none.
  at::Tensor next();

 private:
  void encode_what_all_see();

  const LongRun& all_;
  WindowPass& pass_;
  size_t next_ = 0;
  at::Tensor first_, held_;  // the first window's result; the end of what is done so far, which the next window still changes
};

void WindowMaker::encode_what_all_see() {
  if (pass_.start_pixels.defined()) pass_.start_latents = encode_media(all_.engine, pass_.start_pixels, all_.plan, all_.run);
  for (auto& keyframe : pass_.keyframes) keyframe.latents = encode_media(all_.engine, keyframe.pixels, all_.plan, all_.run);
}

at::Tensor WindowMaker::next() {
  if (next_ == 0) encode_what_all_see();
  Engine::Impl& engine = all_.engine;
  const Request& r = pass_.resolved.request;
  const Compression grid = engine.spec.vae.compression;
  const size_t k = next_++;
  const Window& place = pass_.windows[k];
  const LatentShape own = pass_.shape_of(place);
  WindowContext context{.previous = held_, .previous_strength = *r.window.overlap_strength};
  if (pass_.has_reference()) {
    context.reference = pass_.start_latents.narrow(2, 0, 1);
    if (k == 0) context.first_image = pass_.start_latents, context.first_strength = pass_.start_strength;
  }
  if (pass_.smaller) context.start = enlarged_part(all_, pass_, place);
  const int64_t shown = held_.defined() && context.previous_strength > 0 ? held_.size(2) : 0;
  context.keyframes = pass_.keyframes_of(place, grid);
  pass_.media.fill(context, place, shown, all_.plan, all_.run);
  const auto window = window_tokens(own, engine.spec.vae.latent_channels, context, grid);

  NoiseSource fresh(*r.seed + static_cast<uint64_t>(pass_.seed_offset + place.begin));
  NoiseSource& noise = all_.draws_from_file ? all_.common : fresh;
  noise.set_prefix(pass_.prefix);
  const auto tokens = sample_window(all_, pass_, k, window, noise).narrow(1, 0, own.token_count());
  noise.set_prefix("");
  if (all_.keep_draws && !all_.draws_from_file) all_.keep_draws->insert(fresh.drawn().begin(), fresh.drawn().end());
  engine.weights.stage_done(Component::transformer, all_.plan);

  auto latents = to_volume(tokens, own);
  if (k == 0) {
    first_ = latents;
  } else {
    // The window's first latent frame stands for one pixel frame where the video has eight: it is dropped.
    latents = latents.narrow(2, 1, own.frames - 1);
    if (latents.size(2) * own.height * own.width > 1) latents = match_statistics(latents, first_, *r.window.match);
    latents = join_windows(held_, latents, pass_.overlap - 1, pass_.shortest_fade());
    if (context.kept.defined()) latents = at::where(context.kept == 1, context.kept_latents, latents);  // not moved with the rest
  }
  const int64_t done = finished() ? latents.size(2) : latents.size(2) - pass_.overlap;
  held_ = latents.narrow(2, done, latents.size(2) - done);
  return done > 0 ? latents.narrow(2, 0, done) : at::Tensor();
}

// What a pass makes, as far as the next one asks for it.
class LatentsOnDemand {
 public:
  LatentsOnDemand(const LongRun& all, WindowPass& pass) : maker_(all, pass) {}
  /// Latent frames [begin, end); `begin` may not be smaller than in the call before.
  at::Tensor part(int64_t begin, int64_t end) {
    while (!held_.defined() || begin_ + held_.size(2) < end) {
      const auto ready = maker_.next();
      if (ready.defined()) held_ = held_.defined() ? at::cat({held_, ready}, 2) : ready;
    }
    held_ = held_.narrow(2, begin - begin_, begin_ + held_.size(2) - begin).contiguous();
    begin_ = begin;
    return held_.narrow(2, 0, end - begin).contiguous();
  }

 private:
  WindowMaker maker_;
  at::Tensor held_;
  int64_t begin_ = 0;
};

// The largest window with all that stands beside it, at the last pass's size.
LatentShape largest_window(const ResolvedRequest& last, const Compression& grid) {
  const auto [size, overlap] = window_sizes(last, grid);
  const int64_t own = std::min(size, last.latent.frames);
  const auto keyframes = static_cast<int64_t>(last.request.conditions.size());
  return {own + overlap + 1 + keyframes + (last.request.control_path.empty() ? 0 : own), last.latent.height, last.latent.width};
}

}  // namespace

GenerateResult generate_long(Engine::Impl& engine, const ResolvedRequest& resolved, const FrameSink* sink, RunContext& run) {
  const Request& r = resolved.request;
  const ResolvedRequest& last = resolved.last_pass();
  const PlacementPlan plan =
      engine.plan(largest_window(last, engine.spec.vae.compression), std::max(most_predictions(resolved), most_predictions(last)));
  engine.warn_of_memory(plan, run);
  NoiseSource common = open_noise(r.noise_path, *r.seed);
  WindowPass first_pass(engine, resolved, run);
  std::optional<WindowPass> second_pass;
  if (r.pass_count == 2) {
    second_pass.emplace(engine, last, run);
    second_pass->prefix = "pass2_";
    second_pass->seed_offset = resolved.latent.frames;
    second_pass->smaller_frames = resolved.latent.frames;
    second_pass->smaller_step = resolved.frame_step / last.frame_step;
  }
  WindowPass& last_pass = second_pass ? *second_pass : first_pass;
  check_draws(common, window_draws(first_pass, engine.spec, /*is_last=*/!second_pass));
  if (second_pass) check_draws(common, window_draws(*second_pass, engine.spec, /*is_last=*/true));
  GenerateResult result{.resolved = resolved, .metadata_json = run_record(engine, resolved)};

  const auto prompts = encode_prompts(engine, resolved, last_pass.windows.size(), plan, run);
  const bool keep_draws = !r.save_noise_path.empty();
  std::map<std::string, at::Tensor> draws;
  int64_t steps_done = 0;
  const LongRun all{.engine = engine,
                    .plan = plan,
                    .run = run,
                    .prompts = prompts,
                    .windows_of_result = last_pass.windows,
                    .all_steps = first_pass.step_count() + (second_pass ? second_pass->step_count() : 0),
                    .steps_done = steps_done,
                    .common = common,
                    .draws_from_file = !r.noise_path.empty(),
                    .keep_draws = keep_draws ? &draws : nullptr};
  LatentsOnDemand smaller(all, first_pass);
  if (second_pass) second_pass->smaller = [&smaller](int64_t begin, int64_t end) { return smaller.part(begin, end); };

  const bool keep_latents = !r.save_latents_path.empty() || !sink;
  std::vector<at::Tensor> finished;
  FrameStream stream(last, sink);
  if (sink) sink->begin(resolved, result.metadata_json);
  const double tone_map = last.request.second_pass.tone_map.value_or(0);
  PieceDecoder pieces(engine, {*r.decode_timestep, *r.decode_noise_scale, r.decode_noise_space, tone_map}, plan, common, run,
                      [&](const at::Tensor& frames) { stream.take(frames); });
  for (WindowMaker maker(all, last_pass); !maker.finished();) {
    const auto ready = maker.next();
    if (maker.finished()) run.report(Stage::denoise, all.all_steps, all.all_steps);
    if (!ready.defined()) continue;
    if (keep_latents) finished.push_back(ready);
    pieces.push(ready, maker.finished());
    engine.weights.stage_done(Component::vae_decoder, plan);
    if (!keep_draws) common.forget();
  }

  if (keep_latents) result.latents = at::cat(finished, 2);
  if (!r.save_latents_path.empty()) save_tensors(r.save_latents_path, {{"latents", result.latents}});
  if (keep_draws) {
    draws.insert(common.drawn().begin(), common.drawn().end());
    save_tensors(r.save_noise_path, draws);
  }
  if (!sink) result.frames = stream.collected();
  return result;
}

}  // namespace ltxv
