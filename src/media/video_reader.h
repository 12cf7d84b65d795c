#pragma once
// Images and videos to frames in memory. Files are judged by content, not by name; nothing but the named file is
// opened.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ltxv::media {

struct Clip {
  int64_t frames = 0, height = 0, width = 0;
  int64_t first_frame = 0;       ///< of the file, that `rgb` begins with
  double frames_per_second = 0;  ///< mean rate; 0 where the file has none (images, sequences)
  std::vector<uint8_t> rgb;      ///< [T,H,W,3]
};

struct ReadLimits {
  int64_t max_frames = 1 << 20;            ///< more is an error
  int64_t max_pixels_per_frame = 1 << 25;  ///< 33.5 million; checked before the picture is allocated
  int64_t max_bytes = int64_t{8} << 30;    ///< of Clip::rgb
  int64_t first_frame = 0;                 ///< the ones before are decoded and thrown away; behind the end: the last frame is read
  int64_t stop_after_frames = 0;           ///< read only that many, without an error; 0 = all
};

/// Reads MP4/MOV, Matroska/WebM, AVI, GIF, PNG/APNG, JPEG, WebP or BMP; or, for a file name with a number pattern
/// (%04d), the images of that name from the lowest number on. The first video stream counts; cover pictures of audio
/// files do not. Colour follows the stream's tags (without: BT.601, limited range); alpha is dropped; 16 bits become 8;
/// orientation tags in quarter turns are applied; pixel aspect ratio and frame durations are not looked at.
/// Errors: IoError when missing, damaged or cut short; Unsupported for another format, no picture, a size or count
/// beyond the limits, or a size that changes between frames. Both name the file.
Clip read_clip(const std::string& path, const ReadLimits& limits = {});

/// The same in parts: a file that stays open and is decoded once, as long as no part begins before the one read last. Not for several
/// threads at a time.
class ClipReader {
 public:
  /// Opens nothing yet. `first_frame` and `stop_after_frames` of the limits are not looked at. Errors: as read_clip.
  explicit ClipReader(const std::string& path, const ReadLimits& limits = {});
  ~ClipReader();
  /// Frames [first, first + count), fewer where the file ends before; behind its end the last one. A count of 0: all from `first` on.
  /// A part that begins before the last one is decoded from the beginning again. Errors: as read_clip.
  Clip read(int64_t first, int64_t count);
  /// Decodes what is left of the file, and keeps none of it. Errors: as read_clip.
  int64_t count_frames();

 private:
  friend Clip read_clip(const std::string& path, const ReadLimits& limits);
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The JSON kept by VideoWriter (of a sequence, in its first file); empty if the file holds none. Errors: as read_clip.
std::string read_metadata(const std::string& path);

}  // namespace ltxv::media
