#include "media/pixels.h"

#include <algorithm>
#include <cstring>
#include <vector>

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace ltxv::media {
namespace {

constexpr int kFlags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP;
constexpr int kFixedOne = 1 << 16;

FramePtr new_frame(int width, int height, AVPixelFormat format) {
  FramePtr frame = own<FramePtr>(av_frame_alloc(), "a video frame");
  frame->width = width;
  frame->height = height;
  frame->format = format;
  // Through our own aligned frames, because swscale's vector code reads and writes a little past the end of a row.
  av_check(av_frame_get_buffer(frame.get(), 64), "video frame", "allocation");
  return frame;
}

bool is_yuv(AVPixelFormat format) {
  const AVPixFmtDescriptor* description = av_pix_fmt_desc_get(format);
  return description != nullptr && description->nb_components >= 3 && (description->flags & AV_PIX_FMT_FLAG_RGB) == 0;
}

/// In swscale's unit, 1/256 of a luma sample; -513 leaves swscale's own choice (centred).
int horizontal_chroma_position(AVChromaLocation location) {
  switch (location) {
    case AVCHROMA_LOC_UNSPECIFIED:
    case AVCHROMA_LOC_LEFT:
    case AVCHROMA_LOC_TOPLEFT:
    case AVCHROMA_LOC_BOTTOMLEFT:
      return 0;
    default:
      return -513;
  }
}

struct ScalerEnd {
  AVPixelFormat format;
  int colour_space = SWS_CS_ITU709;
  bool full_range = true;
  int chroma_position = -513;
};

ScalerPtr make_scaler(int width, int height, const ScalerEnd& from, const ScalerEnd& to) {
  ScalerPtr scaler = own<ScalerPtr>(sws_alloc_context(), "a colour converter");
  const auto set = [&](const char* name, int64_t value) { av_opt_set_int(scaler.get(), name, value, 0); };
  set("srcw", width), set("srch", height), set("dstw", width), set("dsth", height);
  set("src_format", from.format), set("dst_format", to.format), set("sws_flags", kFlags);
  set("src_range", from.full_range), set("dst_range", to.full_range);
  set("src_h_chr_pos", from.chroma_position), set("dst_h_chr_pos", to.chroma_position);
  LTXV_REQUIRE(Unsupported, sws_init_context(scaler.get(), nullptr, nullptr) >= 0, "no conversion from pixel format ",
               av_get_pix_fmt_name(from.format), " to ", av_get_pix_fmt_name(to.format));
  // Refused (-1) where neither side is YUV; nothing to set then.
  sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(from.colour_space), from.full_range,
                           sws_getCoefficients(to.colour_space), to.full_range, 0, kFixedOne, kFixedOne);
  return scaler;
}

int sws_colour_space(AVColorSpace space) {
  switch (space) {
    case AVCOL_SPC_BT709:
      return SWS_CS_ITU709;
    case AVCOL_SPC_FCC:
      return SWS_CS_FCC;
    case AVCOL_SPC_SMPTE240M:
      return SWS_CS_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
      return SWS_CS_BT2020;
    default:
      return SWS_CS_ITU601;
  }
}

/// The old "J" formats mean full range in their name; swscale wants the plain name.
AVPixelFormat without_j(AVPixelFormat format, bool& full_range) {
  switch (format) {
    case AV_PIX_FMT_YUVJ420P:
      full_range = true;
      return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P:
      full_range = true;
      return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P:
      full_range = true;
      return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P:
      full_range = true;
      return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P:
      full_range = true;
      return AV_PIX_FMT_YUV411P;
    default:
      return format;
  }
}

/// RGB and grey of other than 8 bits go around swscale, which takes them through YUV and loses up to 20 levels on the
/// way.
bool needs_exact_path(const AVPixFmtDescriptor& description) {
  constexpr uint64_t kOthers =
      AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_FLOAT | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM;
  const bool rgb_or_grey = (description.flags & AV_PIX_FMT_FLAG_RGB) != 0 || description.nb_components <= 2;
  return rgb_or_grey && (description.flags & kOthers) == 0 && description.comp[0].depth != 8;
}

/// Any integer RGB or grey format to RGB24, each sample rounded to 8 bits.
void convert_exactly(const AVFrame& frame, const AVPixFmtDescriptor& description, AVFrame& rgb) {
  std::vector<uint16_t> line(static_cast<size_t>(frame.width));
  const bool grey = description.nb_components <= 2;
  const uint8_t* planes[4] = {frame.data[0], frame.data[1], frame.data[2], frame.data[3]};
  for (int y = 0; y < frame.height; ++y) {
    for (int c = 0; c < 3; ++c) {
      const int component = grey ? 0 : c;
      const uint32_t top = (1U << description.comp[component].depth) - 1;
      av_read_image_line2(line.data(), planes, frame.linesize, &description, 0, y, component, frame.width, 0, 2);
      uint8_t* out = rgb.data[0] + static_cast<ptrdiff_t>(y) * rgb.linesize[0] + c;
      for (int x = 0; x < frame.width; ++x) out[3 * x] = static_cast<uint8_t>((line[x] * 255U + top / 2) / top);
    }
  }
}

bool is_quarter_turn(const int32_t* m) {
  return (m[1] == 0 && m[3] == 0 && m[0] != 0 && m[4] != 0) || (m[0] == 0 && m[4] == 0 && m[1] != 0 && m[3] != 0);
}

}  // namespace

FrameMaker::FrameMaker(int width, int height, AVPixelFormat format)
    : width_(width), height_(height), frame_width_(width), frame_height_(height), format_(format) {
  if (format == AV_PIX_FMT_YUV420P) {
    frame_width_ += width % 2;
    frame_height_ += height % 2;
  }
  if (format == AV_PIX_FMT_RGB24) return;
  rgb_ = new_frame(frame_width_, frame_height_, AV_PIX_FMT_RGB24);
  ScalerEnd to{.format = format};
  if (is_yuv(format)) to = {format, SWS_CS_ITU709, false, horizontal_chroma_position(AVCHROMA_LOC_LEFT)};
  scaler_ = make_scaler(frame_width_, frame_height_, {.format = AV_PIX_FMT_RGB24}, to);
}

FramePtr FrameMaker::make(const uint8_t* rgb, int64_t stride_bytes) {
  FramePtr out = new_frame(frame_width_, frame_height_, format_);
  AVFrame& packed = format_ == AV_PIX_FMT_RGB24 ? *out : *rgb_;
  const size_t row_bytes = static_cast<size_t>(width_) * 3;
  for (int y = 0; y < frame_height_; ++y) {
    const uint8_t* from = rgb + std::min(y, height_ - 1) * stride_bytes;
    uint8_t* to = packed.data[0] + static_cast<ptrdiff_t>(y) * packed.linesize[0];
    std::memcpy(to, from, row_bytes);
    if (frame_width_ > width_) std::memcpy(to + row_bytes, from + row_bytes - 3, 3);
  }
  if (scaler_) {
    av_check(sws_scale(scaler_.get(), packed.data, packed.linesize, 0, frame_height_, out->data, out->linesize),
             "video frame", "colour conversion");
  }
  if (is_yuv(format_)) {
    out->color_range = AVCOL_RANGE_MPEG;
    out->colorspace = AVCOL_SPC_BT709;
    out->color_primaries = AVCOL_PRI_BT709;
    out->color_trc = AVCOL_TRC_BT709;
    out->chroma_location = AVCHROMA_LOC_LEFT;
  } else {
    out->color_range = AVCOL_RANGE_JPEG;
    out->colorspace = AVCOL_SPC_RGB;
    out->color_primaries = AVCOL_PRI_BT709;
    out->color_trc = AVCOL_TRC_IEC61966_2_1;
  }
  return out;
}

void tag_colours(AVCodecContext& context, AVPixelFormat format) {
  const bool yuv = is_yuv(format);
  context.color_range = yuv ? AVCOL_RANGE_MPEG : AVCOL_RANGE_JPEG;
  context.colorspace = yuv ? AVCOL_SPC_BT709 : AVCOL_SPC_RGB;
  context.color_primaries = AVCOL_PRI_BT709;
  context.color_trc = yuv ? AVCOL_TRC_BT709 : AVCOL_TRC_IEC61966_2_1;
  if (yuv) context.chroma_sample_location = AVCHROMA_LOC_LEFT;
}

bool swaps_axes(const int32_t* matrix) { return matrix != nullptr && is_quarter_turn(matrix) && matrix[0] == 0; }

void FrameReader::append(const AVFrame& frame, const int32_t* matrix, std::vector<uint8_t>& out) {
  const auto declared = static_cast<AVPixelFormat>(frame.format);
  const AVPixFmtDescriptor* description = av_pix_fmt_desc_get(declared);
  LTXV_REQUIRE(Unsupported, description != nullptr && sws_isSupportedInput(declared), "pixel format ",
               description == nullptr ? "?" : description->name, " cannot be converted to RGB");
  bool full_range = !is_yuv(declared) ? frame.color_range != AVCOL_RANGE_MPEG : frame.color_range == AVCOL_RANGE_JPEG;
  const AVPixelFormat format = without_j(declared, full_range);
  const int colour_space = sws_colour_space(frame.colorspace);
  const int chroma = horizontal_chroma_position(frame.chroma_location);
  if (!rgb_ || rgb_->width != frame.width || rgb_->height != frame.height || format_ != format ||
      colour_space_ != colour_space || range_ != full_range || chroma_ != chroma) {
    rgb_ = new_frame(frame.width, frame.height, AV_PIX_FMT_RGB24);
    scaler_.reset();
    if (!needs_exact_path(*description)) {
      scaler_ = make_scaler(frame.width, frame.height, {format, colour_space, full_range, chroma},
                            {.format = AV_PIX_FMT_RGB24});
    }
    format_ = format, colour_space_ = colour_space, range_ = full_range, chroma_ = chroma;
  }
  if (scaler_) {
    av_check(sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, rgb_->data, rgb_->linesize),
             "video frame", "colour conversion");
  } else {
    convert_exactly(frame, *description, *rgb_);
  }

  const int64_t width = frame.width, height = frame.height;
  const size_t start = out.size();
  out.resize(start + static_cast<size_t>(width * height * 3));
  const auto row = [&](int64_t y) { return rgb_->data[0] + y * rgb_->linesize[0]; };
  if (matrix == nullptr || !is_quarter_turn(matrix) || (matrix[0] > 0 && matrix[4] > 0)) {
    for (int64_t y = 0; y < height; ++y) {
      std::memcpy(out.data() + start + y * width * 3, row(y), static_cast<size_t>(width * 3));
    }
    return;
  }
  // x' = x m[0] + y m[3], y' = x m[1] + y m[4]; a negative entry counts from the far edge.
  const bool swap = matrix[0] == 0;
  const int64_t out_width = swap ? height : width;
  const int64_t out_height = swap ? width : height;
  const bool flip_x = (swap ? matrix[3] : matrix[0]) < 0;
  const bool flip_y = (swap ? matrix[1] : matrix[4]) < 0;
  for (int64_t y = 0; y < out_height; ++y) {
    for (int64_t x = 0; x < out_width; ++x) {
      const int64_t u = flip_x ? out_width - 1 - x : x;
      const int64_t v = flip_y ? out_height - 1 - y : y;
      std::memcpy(out.data() + start + (y * out_width + x) * 3, row(swap ? u : v) + (swap ? v : u) * 3, 3);
    }
  }
}

}  // namespace ltxv::media
