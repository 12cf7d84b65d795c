#include "pipeline/long_video.h"

#include <cmath>

#include "diffusion/latent_filters.h"
#include "diffusion/windows.h"
#include "pipeline/media_io.h"
#include "pipeline/piece_decoder.h"
#include "pipeline/run_record.h"
#include "pipeline/stages.h"
#include "pipeline/tensor_files.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

// Embeddings of every prompt that a window will use; one pair a prompt.
std::vector<Prompts> encode_prompts(Engine::Impl& engine, const ResolvedRequest& resolved, size_t window_count,
                                    const PlacementPlan& plan, RunContext& run) {
  const Request& r = resolved.request;
  auto texts = split_prompts(r.prompt);
  if (texts.size() > window_count) {
    run.log(LogLevel::warning, text("there are ", texts.size(), " prompts for ", window_count, " windows; the last ",
                                    texts.size() - window_count, " are not used"));
    texts.resize(window_count);
  }
  PromptEmbeds negative;
  if (needs_negative(resolved)) negative = prompt_embeds(engine, *r.negative_prompt, r.negative_prompt_embeds_path, r, plan, run);
  std::vector<Prompts> prompts;
  for (const std::string& prompt : texts) {
    run.report(Stage::text, static_cast<int64_t>(prompts.size()), static_cast<int64_t>(texts.size()));
    prompts.push_back({prompt_embeds(engine, prompt, "", r, plan, run), negative});
  }
  engine.weights.stage_done(Component::text_encoder, plan);
  run.report(Stage::text, static_cast<int64_t>(texts.size()), static_cast<int64_t>(texts.size()));
  return prompts;
}

struct WindowRun {
  const WindowTokens& window;
  const Prompts& prompts;
  int64_t index, count;  ///< of windows
};

// Tokens of one window after all steps.
at::Tensor sample_window(Engine::Impl& engine, const WindowRun& w, const ResolvedRequest& resolved, NoiseSource& noise,
                         const PlacementPlan& plan, RunContext& run) {
  const Request& r = resolved.request;
  const Predictor predictor(engine, w.window.coordinates, w.prompts, resolved, plan);
  const std::string name = indexed_name("window", w.index);
  const LatentShape& shape = w.window.shape;
  const int64_t channels = w.window.clean.size(2);
  const auto drawn = r.noise_kind == NoiseKind::torch_tokens
                         ? noise.draw(name + "_initial", {1, shape.token_count(), channels})
                         : to_tokens(noise.draw(name + "_initial", {1, channels, shape.frames, shape.height, shape.width}));
  auto x = blend_kept(drawn, w.window);
  const auto step_count = static_cast<int64_t>(resolved.sigmas.size());
  for (int64_t i = 0; i < step_count; ++i) {
    run.report(Stage::denoise, w.index * step_count + i, w.count * step_count);
    const auto sigma = static_cast<float>(resolved.sigmas[i]);
    const float next = i + 1 < step_count ? static_cast<float>(resolved.sigmas[i + 1]) : 0.0f;
    const auto levels = (w.window.freedom * sigma).flatten();
    const auto velocity = predictor.velocity({x, levels, i}, run);
    const auto fresh = next > 0 && *r.window.eta > 0 ? noise.draw(indexed_name(name + "_stochastic", i), x.sizes()) : at::Tensor();
    // Blended before and after the step, but behind the model: the reference's order, which the soft tokens depend on.
    x = blend_kept(ancestral_step(blend_kept(x, w.window), velocity, sigma, next, *r.window.eta, fresh), w.window);
    LTXV_REQUIRE(NumericError, std::isfinite(x.sum().item<float>()), "latents became NaN or Inf at step ", i + 1, " of ", step_count,
                 " of window ", w.index + 1);
  }
  return x;
}

// Hands frames on as they come, cropped, and no more of them than asked for.
struct FrameStream {
  const ResolvedRequest& resolved;
  const FrameSink* sink;
  std::vector<at::Tensor> collected;
  int64_t count = 0;

  void take(const at::Tensor& computed) {
    const int64_t wanted = std::min(computed.size(2), resolved.asked.frames - count);
    if (wanted <= 0) return;
    const auto frames = crop_picture(computed.narrow(2, 0, wanted), resolved);
    count += wanted;
    if (sink) {
      sink->write(frames);
    } else {
      collected.push_back(frames);
    }
  }
};

}  // namespace

GenerateResult generate_long(Engine::Impl& engine, const ResolvedRequest& resolved, const FrameSink* sink, RunContext& run) {
  const ModelSpec& spec = engine.spec;
  const Request& r = resolved.request;
  const Compression grid = spec.vae.compression;
  const LatentShape& all = resolved.latent;
  const int64_t size = r.window.frame_count / grid.temporal, overlap = *r.window.overlap / grid.temporal;
  const auto windows = split_into_windows(all.frames, size, overlap);
  const PlacementPlan plan = engine.plan({size + overlap + 1, all.height, all.width}, most_predictions(resolved));
  RunMedia media = read_media(resolved, spec);
  read_adaptation(engine, resolved, media, run);
  LTXV_CHECK(media.conditions.empty() || media.conditions[0].size(2) == 1, r.conditions.empty() ? "" : r.conditions[0].path,
             ": window-frames takes an image to start from, not a clip");
  GenerateResult result{.resolved = resolved, .metadata_json = run_record(engine, resolved)};

  const auto prompts = encode_prompts(engine, resolved, windows.size(), plan, run);
  const auto image = media.conditions.empty() ? at::Tensor() : encode_media(engine, media.conditions[0], plan, run);
  const double image_strength = r.conditions.empty() ? 0 : r.conditions[0].strength;

  const bool from_file = !r.noise_path.empty(), keep_draws = !r.save_noise_path.empty();
  const bool keep_latents = !r.save_latents_path.empty() || !sink;
  NoiseSource common = open_noise(r.noise_path, *r.seed);  // the decoder's, and everything when it comes from a file
  std::map<std::string, at::Tensor> draws;
  std::vector<at::Tensor> finished;
  FrameStream stream{.resolved = resolved, .sink = sink, .collected = {}};
  if (sink) sink->begin(resolved, result.metadata_json);
  PieceDecoder pieces(engine, {*r.decode_timestep, *r.decode_noise_scale, r.decode_noise_space}, plan, common, run,
                      [&](const at::Tensor& frames) { stream.take(frames); });

  at::Tensor first, held;  // the first window's result; the end of what is done so far, which the next window still changes
  for (size_t k = 0; k < windows.size(); ++k) {
    const bool last = k + 1 == windows.size();
    WindowContext context{.previous = held, .previous_strength = *r.window.overlap_strength};
    if (image.defined() && image_strength > 0) {
      context.reference = image;
      if (k == 0) context.first_image = image, context.first_strength = image_strength;
    }
    const LatentShape own{windows[k].end - windows[k].begin, all.height, all.width};
    const auto window = window_tokens(own, spec.vae.latent_channels, context, grid);
    NoiseSource fresh(*r.seed + static_cast<uint64_t>(windows[k].begin));
    const auto tokens = sample_window(engine,
                                      {.window = window,
                                       .prompts = prompts[std::min(k, prompts.size() - 1)],
                                       .index = static_cast<int64_t>(k),
                                       .count = static_cast<int64_t>(windows.size())},
                                      resolved, from_file ? common : fresh, plan, run);
    if (keep_draws && !from_file) draws.insert(fresh.drawn().begin(), fresh.drawn().end());
    engine.weights.stage_done(Component::transformer, plan);

    auto latents = to_volume(tokens.narrow(1, 0, own.token_count()), own);
    if (k == 0) {
      first = latents;
    } else {
      // The window's first latent frame stands for one pixel frame where the video has eight: it is dropped.
      latents = latents.narrow(2, 1, own.frames - 1);
      if (latents.size(2) * own.height * own.width > 1) latents = match_statistics(latents, first, *r.window.match);
      latents = join_windows(held, latents, overlap - 1);
    }
    const int64_t done = last ? latents.size(2) : latents.size(2) - overlap;
    held = latents.narrow(2, done, latents.size(2) - done);
    if (done == 0) continue;
    const auto ready = latents.narrow(2, 0, done);
    if (keep_latents) finished.push_back(ready);
    pieces.push(ready, last);
    engine.weights.stage_done(Component::vae_decoder, plan);
    if (!keep_draws) common.forget();
  }

  if (keep_latents) result.latents = at::cat(finished, 2);
  if (!r.save_latents_path.empty()) save_tensors(r.save_latents_path, {{"latents", result.latents}});
  if (keep_draws) {
    draws.insert(common.drawn().begin(), common.drawn().end());
    save_tensors(r.save_noise_path, draws);
  }
  if (!sink) result.frames = at::cat(stream.collected, 2);
  return result;
}

}  // namespace ltxv
