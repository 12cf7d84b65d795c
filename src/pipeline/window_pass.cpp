#include "pipeline/window_pass.h"

#include "pipeline/media_io.h"
#include "pipeline/piece_decoder.h"

namespace ltxv {

WindowPass::WindowPass(Engine::Impl& engine, const ResolvedRequest& pass, const RunContext& run)
    : resolved(pass),
      overlap(window_sizes(pass, engine.spec.vae.compression).overlap),
      windows(split_into_windows(pass.latent.frames, window_sizes(pass, engine.spec.vae.compression).size, overlap)),
      media(engine, pass, run) {
  MediaFiles files;
  for (const ConditionItem& item : pass.request.conditions) {
    const auto pixels = read_condition(files, item, pass, engine.spec.vae.compression);
    if (item.frame_index / pass.frame_step > 0) {
      LTXV_CHECK(pixels.size(2) == 1, "condition ", item.path, ": window-frames takes clips at frame 0 only, and pictures anywhere; this one of ",
                 pixels.size(2), " frames is at frame ", item.frame_index);
      keyframes.push_back({.pixels = pixels, .latents = {}, .frame = item.frame_index / pass.frame_step, .strength = item.strength});
      continue;
    }
    LTXV_CHECK(!start_pixels.defined(), "condition ", item.path, ": window-frames takes one condition at frame 0");
    const int64_t room = (windows[0].end - 1) * engine.spec.vae.compression.temporal + 1;
    LTXV_CHECK(pixels.size(2) <= room, "condition ", item.path, ": a clip of ", pixels.size(2),
               " frames does not fit into the first window, which has ", room);
    start_pixels = pixels;
    start_strength = item.strength;
  }
}

std::vector<WindowContext::Keyframe> WindowPass::keyframes_of(const Window& window, const Compression& grid) const {
  std::vector<WindowContext::Keyframe> inside;
  for (const Keyframe& k : keyframes) {
    const int64_t frame = k.frame - window.begin * grid.temporal;
    if (frame > 0 && frame <= (window.end - 1 - window.begin) * grid.temporal) inside.push_back({k.latents, frame, k.strength});
  }
  return inside;
}

ExpectedDraws window_draws(const WindowPass& pass, const ModelSpec& spec, bool is_last) {
  const Request& r = pass.resolved.request;
  const int64_t channels = spec.vae.latent_channels;
  const auto steps = static_cast<int64_t>(pass.resolved.sigmas.size());
  ExpectedDraws draws;
  PieceSchedule pieces;
  int64_t held = 0, pushes = 0, maps = 0;
  for (size_t k = 0; k < pass.windows.size(); ++k) {
    const bool last = k + 1 == pass.windows.size();
    const LatentShape own = pass.shape_of(pass.windows[k]);
    const int64_t shown = *r.window.overlap_strength > 0 ? held : 0;
    const LatentShape guide = pass.media.control_shape(pass.windows[k], shown);
    LatentShape all = own;
    const auto keyframes = static_cast<int64_t>(pass.keyframes_of(pass.windows[k], spec.vae.compression).size());
    all.frames += shown + guide.frames + keyframes + (pass.has_reference() ? 1 : 0);
    const int64_t tokens = (all.frames - guide.frames) * own.height * own.width + guide.token_count();
    const bool whole_frames = guide.frames == 0 || guide.height == own.height;
    const std::string name = pass.prefix + indexed_name("window", static_cast<int64_t>(k));
    draws.push_back({name + "_initial", whole_frames ? std::vector<int64_t>{1, channels, all.frames, all.height, all.width}
                                                     : std::vector<int64_t>{1, tokens, channels}});
    if (*r.window.eta > 0)
      for (int64_t i = 0; i + 1 < steps; ++i) draws.push_back({indexed_name(name + "_stochastic", i), {1, tokens, channels}});

    const int64_t fade = pass.overlap - 1 >= pass.shortest_fade() ? pass.overlap - 1 : 0;
    const int64_t length = k == 0 ? own.frames : held + own.frames - 1 - fade;
    const int64_t done = last ? length : length - pass.overlap;
    held = length - done;
    if (!is_last || done == 0) continue;
    const auto decoded = decode_draws(pass.resolved, {done, own.height, own.width}, spec);
    const bool decodes = pieces.push(done, last);
    for (const ExpectedDraw& draw : decoded) {
      if (draw.name == "decode") {
        draws.push_back({indexed_name("decode", pushes), draw.shape});
      } else if (decodes) {
        draws.push_back({indexed_name("decoder", maps++), draw.shape});
      }
    }
    ++pushes;
  }
  return draws;
}

}  // namespace ltxv
