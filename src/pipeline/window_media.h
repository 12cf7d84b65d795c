#pragma once
// What the windows of a long video take of clips: every window its own part, read and encoded when it comes, so that memory does not
// grow with length.
#include <functional>
#include <optional>

#include "diffusion/windows.h"
#include "pipeline/media_frames.h"
#include "pipeline/stages.h"

namespace ltxv {

/// Latents of a clip, encoded as they are asked for: those of the whole clip but for the order of sums. An encoder that looks ahead (no
/// published one does) gets the clip in one go.
class ClipLatents {
 public:
  using Read = std::function<at::Tensor(const FrameRange& range)>;  ///< frames of the pass, f32 [1,3,T,H,W]
  ClipLatents(Read read, int64_t latent_frames) : read_(std::move(read)), latent_frames_(latent_frames) {}
  /// Latent frames [begin, end); neither may be smaller than in the call before. Shapes: f32 [1,C,t,H,W].
  at::Tensor part(Engine::Impl& engine, int64_t begin, int64_t end, const PlacementPlan& plan, RunContext& run);

 private:
  Read read_;
  int64_t latent_frames_;
  EncodeCarry carry_;
  at::Tensor held_;
  int64_t held_begin_ = 0, held_end_ = 0;
};

/// The clips of one pass.
class WindowMedia {
 public:
  /// Opens LoRAs and looks whether every clip has the frames that the pass will take of it.
  /// Errors: as read_media and read_adaptation.
  WindowMedia(Engine::Impl& engine, const ResolvedRequest& pass, const RunContext& run);
  WindowMedia(const WindowMedia&) = delete;  // what it reads from is its own
  WindowMedia& operator=(const WindowMedia&) = delete;

  /// True where latent frames of the result must stay beside those of a clip.
  bool has_clips() const { return video_ || video_latents_.defined() || control_; }
  /// What a control clip adds to a window that sees `shown` latents of what is done; 0 frames without one.
  LatentShape control_shape(const Window& window, int64_t shown) const;

  /// Fills in what `window` starts from, keeps and follows. `shown` as above. Where the context has a start
  /// already (a second pass), the input video is only what a mask keeps of it.
  void fill(WindowContext& context, const Window& window, int64_t shown, const PlacementPlan& plan, RunContext& run);

 private:
  at::Tensor kept_part(const Window& window);

  Engine::Impl& engine_;
  const ResolvedRequest& pass_;
  MediaFiles files_;
  std::optional<ClipLatents> video_, control_;
  at::Tensor video_latents_;  ///< of a file that holds latents
  bool control_is_still_ = false;
  int64_t control_downscale_ = 1;
};

}  // namespace ltxv
