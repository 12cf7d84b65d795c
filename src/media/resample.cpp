#include "media/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ltxv::media {
namespace {

constexpr int kChannels = 3;
constexpr int kPrecisionBits = 32 - 8 - 2;  // of the fixed-point weights: room for 8-bit samples and a sum of two signs

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

// What one output sample takes from the line: weights for `first`, first + 1, …
struct Tap {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

std::vector<Tap> taps(int64_t from, int64_t to, Filter filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), widen = std::max(scale, 1.0);
  const double support = (filter == Filter::lanczos ? 3.0 : 2.0) * widen;
  std::vector<Tap> out(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const auto end = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), from);
    std::vector<double> exact;
    double sum = 0;
    for (int64_t x = first; x < end; ++x) {
      const double at = (static_cast<double>(x) - centre + 0.5) * (1.0 / widen);
      exact.push_back(filter == Filter::lanczos ? lanczos(at) : cubic(at));
      sum += exact.back();
    }
    Tap& tap = out[static_cast<size_t>(i)];
    tap.first = first;
    for (double w : exact) {
      if (sum != 0) w /= sum;
      tap.weights.push_back(static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << kPrecisionBits)));
    }
  }
  return out;
}

// Samples lie `step` bytes apart, lines `line` bytes.
struct Layout {
  int64_t step, line;
};

void filter_lines(const uint8_t* from, Layout in, uint8_t* to, Layout out, int64_t line_count, const std::vector<Tap>& taps) {
  for (int64_t y = 0; y < line_count; ++y) {
    for (size_t i = 0; i < taps.size(); ++i) {
      const Tap& tap = taps[i];
      const uint8_t* at = from + y * in.line + tap.first * in.step;
      uint8_t* target = to + y * out.line + static_cast<int64_t>(i) * out.step;
      for (int c = 0; c < kChannels; ++c) {
        int32_t sum = 1 << (kPrecisionBits - 1);
        for (size_t k = 0; k < tap.weights.size(); ++k) sum += at[static_cast<int64_t>(k) * in.step + c] * tap.weights[k];
        target[c] = static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
      }
    }
  }
}

}  // namespace

std::vector<uint8_t> resample(const uint8_t* rgb, int64_t height, int64_t width, int64_t new_height, int64_t new_width,
                              Filter filter) {
  std::vector<uint8_t> wide(rgb, rgb + height * width * kChannels);
  if (new_width != width) {
    wide.assign(static_cast<size_t>(height * new_width * kChannels), 0);
    filter_lines(rgb, {kChannels, width * kChannels}, wide.data(), {kChannels, new_width * kChannels}, height,
                 taps(width, new_width, filter));
  }
  if (new_height == height) return wide;
  std::vector<uint8_t> out(static_cast<size_t>(new_height * new_width * kChannels));
  // Columns are the lines now.
  filter_lines(wide.data(), {new_width * kChannels, kChannels}, out.data(), {new_width * kChannels, kChannels}, new_width,
               taps(height, new_height, filter));
  return out;
}

}  // namespace ltxv::media
