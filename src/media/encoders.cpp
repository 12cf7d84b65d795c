#include "media/encoders.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ltxv::media {
namespace {

std::vector<std::string> candidates(Container container, Fidelity fidelity) {
  if (fidelity == Fidelity::lossless && container == Container::mkv) return {"ffv1"};
  switch (container) {
    case Container::mp4:
    case Container::mkv:
      return {"libx264", "libopenh264", "mpeg4"};
    case Container::webm:
      return {"libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1"};
    case Container::gif:
      return {"gif"};
    case Container::png_sequence:
    case Container::png_sheet:
      return {"png"};
  }
  return {};
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

/// The point of a scale 0 … `top` that matches an x264 CRF of 1 … 51.
int scaled(int quality, int top, int standard) {
  return quality == 0 ? standard : static_cast<int>(std::lround(quality * top / 51.0));
}

int64_t bits_per_second(const AVCodecContext& context, int quality) {
  constexpr double kBitsPerPixel = 0.25;  // about what x264 spends at CRF 18 on moving pictures
  const double pixels_per_second = double(context.width) * context.height * av_q2d(context.framerate);
  return std::llround(pixels_per_second * kBitsPerPixel * std::exp2((18 - (quality == 0 ? 18 : quality)) / 6.0)) + 1;
}

}  // namespace

std::string choose_encoder(Container container, Fidelity fidelity, const std::string& requested) {
  LTXV_CHECK(fidelity == Fidelity::lossy || (container != Container::mp4 && container != Container::webm),
             container_name(container), " cannot be lossless here; use .mkv (ffv1) or .png");
  const std::vector<std::string> names = candidates(container, fidelity);
  if (!requested.empty()) {
    LTXV_CHECK(std::find(names.begin(), names.end(), requested) != names.end(), "encoder ", requested,
               " is not one for ", container_name(container), "; allowed: ", joined(names));
    LTXV_REQUIRE(Unsupported, avcodec_find_encoder_by_name(requested.c_str()) != nullptr, "this FFmpeg has no encoder ",
                 requested);
    return requested;
  }
  for (const std::string& name : names) {
    if (avcodec_find_encoder_by_name(name.c_str()) != nullptr) return name;
  }
  throw Unsupported(
      text("this FFmpeg has no encoder for ", container_name(container), "; looked for: ", joined(names)));
}

void configure_encoder(AVCodecContext& context, const std::string& encoder, int quality, Dictionary& options) {
  if (encoder == "libx264") {
    options.set("preset", "medium");
    options.set("crf", std::to_string(quality == 0 ? 18 : quality));
    // Without it x264 picks algorithms by processor, and the same frames give other bytes elsewhere.
    options.set("x264-params", "cpu-independent=1");
  } else if (encoder == "libopenh264") {
    context.bit_rate = bits_per_second(context, quality);
    options.set("allow_skip_frames", "0");
  } else if (encoder == "mpeg4") {
    context.flags |= AV_CODEC_FLAG_QSCALE;
    // The transforms that have no vector version with other roundings.
    context.dct_algo = FF_DCT_INT;
    context.idct_algo = FF_IDCT_SIMPLE;
    context.global_quality = FF_QP2LAMBDA * std::max(1, scaled(quality, 31, 3));
  } else if (encoder == "libvpx-vp9" || encoder == "libvpx") {
    options.set("crf", std::to_string(scaled(quality, 63, 24)));
    options.set("deadline", "good");
    options.set("cpu-used", "4");
    // VP9 takes 0 as "no ceiling"; VP8's CRF needs a ceiling, here one it will not reach.
    context.bit_rate = encoder == "libvpx" ? 4 * bits_per_second(context, 1) : 0;
  } else if (encoder == "libsvtav1") {
    options.set("crf", std::to_string(scaled(quality, 63, 24)));
    options.set("preset", "8");
    options.set("svtav1-params", text("lp=", context.thread_count));
  } else if (encoder == "libaom-av1") {
    options.set("crf", std::to_string(scaled(quality, 63, 24)));
    options.set("cpu-used", "6");
    context.bit_rate = 0;
  } else if (encoder == "ffv1") {
    options.set("level", "3");
    options.set("slicecrc", "1");
  } else if (encoder == "png") {
    options.set("pred", "mixed");
  }
}

AVPixelFormat encoder_pixel_format(const std::string& encoder) {
  if (encoder == "ffv1") return AV_PIX_FMT_0RGB32;
  if (encoder == "gif") return AV_PIX_FMT_PAL8;
  if (encoder == "png") return AV_PIX_FMT_RGB24;
  return AV_PIX_FMT_YUV420P;
}

}  // namespace ltxv::media
