#pragma once
// Frames of files in parts, and the sizes they are brought to. What reads media for a run stands on these.
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/tensor.h"
#include "media/video_reader.h"
#include "pipeline/request.h"
#include "weights/tensor_source.h"

namespace ltxv {

/// Frames [first, first + count) of a file, a pass or the result.
struct FrameRange {
  int64_t first = 0, count = 0;
};

/// All frames of a pass.
inline FrameRange all_frames(const ResolvedRequest& pass) { return {0, pass.computed.frames}; }

bool is_tensor_file(const std::string& path);

/// One file of pictures, clip, sequence or frames as tensors, open for as long as parts of it are wanted: read forwards, it is decoded
/// once, and what is held of it is the part read last. Every range is cut where the file ends; behind its end it is the last frame. A
/// count of 0: all from `first` on.
class MediaFile {
 public:
  /// Opens nothing yet.
  explicit MediaFile(std::string path);
  /// As decoded; not of a tensor file. Errors: as media::read_clip.
  media::Clip clip(const FrameRange& range);
  /// Shapes: f32 [1,3,T,H,W] in [-1,1].   Errors: as read_frames.
  at::Tensor frames(const FrameRange& range, double* frames_per_second = nullptr);
  /// Frames of a clip, or pictures of a sequence; what has not been decoded of it is. Errors: as frames().
  int64_t count_frames();

  /// A tensor file's tensor of that name; null where it has none, and for other files. Errors: IoError, BadWeights.
  const TensorEntry* find_tensor(const std::string& name);
  /// Frames of it. Shapes: f32 [1,channels,T,H,W].   Errors: BadWeights; NumericError for NaN or Inf anywhere in it.
  at::Tensor tensor(const std::string& name, int64_t channels, const FrameRange& range);

 private:
  std::string path_;
  std::unique_ptr<media::ClipReader> reader_;
  std::shared_ptr<const TensorSource> source_;
  std::optional<std::string> sound_;  ///< the tensor that was looked through for NaN and Inf
};

/// The files that a run reads, each opened once. What is read at another pace needs its own, or files are decoded again.
class MediaFiles {
 public:
  MediaFile& operator[](const std::string& path);

 private:
  std::map<std::string, MediaFile> files_;
};

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
