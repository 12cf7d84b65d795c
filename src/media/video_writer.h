#pragma once
// Frames to a file. The kind of file follows from the path (media/container.h).
#include <cstdint>
#include <memory>
#include <string>

namespace ltxv::media {

/// `WriteOptions::quality` for exact frames: .mkv (ffv1). PNG always is exact, GIF up to 255 colours.
inline constexpr int kLossless = -1;

struct WriteOptions {
  /// 0.001 to 1000. Stored as a fraction: 25 is 25/1, 23.976 and the like are n*1000/1001, 7.3 is 73/10. A GIF counts
  /// in hundredths of a second: rates that do not divide 100 alternate, above 50 frames are left out (viewers show
  /// 1/100 s as 1/10).
  double frames_per_second = 25;
  /// Prompt, seed and settings, kept in the file as its comment (mp4, mkv, webm: tag "comment"; png: iTXt "Comment";
  /// gif: comment extension) and read back by read_metadata. Empty for none; at most 1 MiB, no zero byte.
  std::string metadata_json = {};
  std::string title = {};  ///< tag "title"; png: iTXt "Title"; gif: dropped
  /// How many frames will come, checked by finish(); 0 = unknown, and a contact sheet then holds all of them in memory.
  int64_t frame_count = 0;
  /// x264's CRF scale, 1 (best) … 51; 0 = the encoder's good default; kLossless. Ignored by png and gif.
  int quality = 0;
  int thread_count = 1;      ///< of the encoder. Bytes repeat at one count, not across counts
  std::string encoder = {};  ///< empty = the container's first available (media/encoders.h), else one of its list
};

/// Writes one clip. The file is complete or absent: it appears, replacing an older one, in finish(); after an error, or
/// when the writer is destroyed before, nothing remains. One thread at a time a writer; any number of writers at once.
class VideoWriter {
 public:
  /// 4:2:0 video needs even sizes: an odd width or height gains one column or row there, a repeat of the last.
  /// A sequence numbers its files from 0 and leaves older files of higher numbers alone. A contact sheet shows all
  /// frames up to 16, else 16 evenly spaced ones with the first and the last.
  /// Units: width and height in pixels, 1 to 16384.
  /// Errors: as check_output; InvalidArgument for a size, rate, quality or encoder out of range.
  static std::unique_ptr<VideoWriter> open(const std::string& path, int64_t width, int64_t height,
                                           const WriteOptions& options);

  virtual ~VideoWriter() = default;

  /// Shapes: rgb24 [height, stride_bytes] u8, 3 * width bytes used a row; read before return.
  /// Errors: IoError (disk full, …); InvalidArgument after finish or an error, for a short stride or a frame too many.
  virtual void write(const uint8_t* rgb24, int64_t stride_bytes) = 0;

  /// Completes the file. Errors: IoError; InvalidArgument when no frame came, or not WriteOptions::frame_count of them.
  virtual void finish() = 0;

  /// FFmpeg's name of the encoder in use.
  virtual const std::string& encoder_name() const = 0;
};

}  // namespace ltxv::media
