#pragma once
// Conversion between packed 8-bit RGB and what encoders and decoders use, with the matrix, range and chroma position
// stated instead of swscale's defaults, and in its bit-exact mode, so that bytes do not depend on the processor.
#include <cstdint>
#include <vector>

#include "media/ffmpeg_handles.h"

namespace ltxv::media {

/// Makes encoder frames. YUV comes out as BT.709, limited range, chroma sited left, and is tagged so.
/// 4:2:0 needs even sizes: an odd width or height gains one column or row, a repeat of the last.
class FrameMaker {
 public:
  FrameMaker(int width, int height, AVPixelFormat format);
  /// Size of the frames that come out.
  int frame_width() const { return frame_width_; }
  int frame_height() const { return frame_height_; }
  /// Shapes: rgb [height, stride_bytes] u8, the first 3 * width bytes of a row are used.
  FramePtr make(const uint8_t* rgb, int64_t stride_bytes);

 private:
  int width_, height_, frame_width_, frame_height_;
  AVPixelFormat format_;
  FramePtr rgb_;
  ScalerPtr scaler_;
};

/// Writes the colour tags of FrameMaker's output for `format` into the encoder.
void tag_colours(AVCodecContext& context, AVPixelFormat format);

/// Turns decoded frames into RGB by their own tags. A stream without a matrix tag is taken as BT.601, without a range
/// tag as limited, as the ffmpeg program does; alpha is dropped, as Pillow's convert("RGB") does; 16 bits become 8; HDR
/// is not tone-mapped.
class FrameReader {
 public:
  /// Appends [H,W,3] u8 to `out`. `matrix` is FFmpeg's 3x3 display matrix or null: quarter turns and mirrors are
  /// applied, any other angle is ignored.
  /// Errors: Unsupported for a pixel format swscale cannot read.
  void append(const AVFrame& frame, const int32_t* matrix, std::vector<uint8_t>& out);

 private:
  ScalerPtr scaler_;
  FramePtr rgb_;
  int format_ = AV_PIX_FMT_NONE;
  int colour_space_ = -1, range_ = -1, chroma_ = -1;
};

/// True when the display matrix swaps width and height.
bool swaps_axes(const int32_t* matrix);

}  // namespace ltxv::media
