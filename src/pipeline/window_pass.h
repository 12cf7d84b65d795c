#pragma once
// One pass of a long video: its windows, and everything that they take beside prompts and noise.
#include <functional>

#include "pipeline/expected_draws.h"
#include "pipeline/window_media.h"

namespace ltxv {

struct WindowPass {
  /// Reads what the video begins with and looks at every clip. Errors: as WindowMedia and read_condition; InvalidArgument for a clip to
  /// start from that is longer than the first window, or a clip elsewhere.
  WindowPass(Engine::Impl& engine, const ResolvedRequest& pass, const RunContext& run);

  const ResolvedRequest& resolved;
  int64_t overlap;  ///< latent frames
  std::vector<Window> windows;
  WindowMedia media;
  at::Tensor start_pixels, start_latents;  ///< of the picture or clip that the video begins with
  double start_strength = 0;
  struct Keyframe {
    at::Tensor pixels, latents;
    int64_t frame = 0;  ///< of the pass
    double strength = 1;
  };
  std::vector<Keyframe> keyframes;  ///< pictures behind frame 0
  /// In a second pass: latent frames [begin, end) of the first one, asked for in order; how many it has; and how many of this pass one of
  /// them stands for.
  std::function<at::Tensor(int64_t begin, int64_t end)> smaller;
  int64_t smaller_frames = 0, smaller_step = 1;
  std::string prefix;        ///< of the names of draws
  int64_t seed_offset = 0;   ///< keeps the generators of the passes apart

  int64_t step_count() const { return static_cast<int64_t>(windows.size() * resolved.sigmas.size()); }
  LatentShape shape_of(const Window& window) const { return {window.end - window.begin, resolved.latent.height, resolved.latent.width}; }
  /// Overlaps shorter than this are not faded (join_windows). Beside clips, and for a second pass, a latent frame of the result must be
  /// where it is in the clip.
  int64_t shortest_fade() const { return media.has_clips() || resolved.request.pass_count == 2 ? 1 : 2; }
  /// Keyframes that lie in a window, behind its first frame: at that one the window before has them.
  std::vector<WindowContext::Keyframe> keyframes_of(const Window& window, const Compression& grid) const;
  /// True when every window sees a moment before the video.
  bool has_reference() const { return start_pixels.defined() && start_strength > 0; }
};

/// Every draw of the windows of a pass; of the last pass also those of the decoder.
ExpectedDraws window_draws(const WindowPass& pass, const ModelSpec& spec, bool is_last);

}  // namespace ltxv
