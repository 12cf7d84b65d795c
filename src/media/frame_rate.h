#pragma once
#include <array>
#include <cmath>
#include <optional>

extern "C" {
#include <libavutil/rational.h>
}

namespace ltxv::media {

/// The television rate n*1000/1001 (n = 24, 30, 48, 60, 120) within `tolerance` of a rate that was rounded somewhere;
/// else empty. Units: frames a second.
inline std::optional<AVRational> ntsc_rate(double frames_per_second, double tolerance) {
  constexpr std::array kWhole = {24, 30, 48, 60, 120};
  for (const int n : kWhole) {
    if (std::abs(frames_per_second - n * 1000.0 / 1001.0) < tolerance) return AVRational{n * 1000, 1001};
  }
  return std::nullopt;
}

}  // namespace ltxv::media
