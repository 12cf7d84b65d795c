#pragma once
// Frames of files in parts, and the sizes they are brought to. What reads media for a run stands on these.
#include <string>

#include "base/tensor.h"
#include "pipeline/request.h"

namespace ltxv {

/// Frames [first, first + count) of a file, a pass or the result.
struct FrameRange {
  int64_t first = 0, count = 0;
};

/// All frames of a pass.
inline FrameRange all_frames(const ResolvedRequest& pass) { return {0, pass.computed.frames}; }

bool is_tensor_file(const std::string& path);

/// The frames of `range` of the file, fewer where it ends before; behind its end the last one. A count of 0: all from `first` on.
/// Shapes: f32 [1,3,T,H,W] in [-1,1].   Errors: as read_frames.
at::Tensor read_file_frames(const std::string& path, const FrameRange& range, double* frames_per_second = nullptr);
/// Frames of a clip, or pictures of a sequence; all of it is decoded once. Errors: as read_frames.
int64_t count_frames(const std::string& path);

/// Frames `range` of a volume [1,C,T,H,W], fewer where it ends before; behind its end the last one. A count of 0: all from `first` on.
at::Tensor part_of(const at::Tensor& frames, const FrameRange& range);
/// Exactly `count` frames: cut, or the last one repeated.
at::Tensor fill_up(const at::Tensor& frames, int64_t count);

/// Bilinear, antialiased, since a still is often several times larger than the video.
at::Tensor resize(const at::Tensor& frames, int64_t height, int64_t width);
/// Without the antialiasing: what the official code does between its media, its passes and the result.
at::Tensor resize_plain(const at::Tensor& frames, int64_t height, int64_t width);
/// Cropped around the centre to the aspect of `fit`, then resized to it.
at::Tensor fitted(const at::Tensor& frames, const PixelShape& fit);

/// True where this pass is computed at another size than the padded one.
bool other_size(const ResolvedRequest& resolved);

}  // namespace ltxv
