// Compiled once an instruction set with LTXV_ISA defined.
#include <algorithm>
#include <cstring>
#include <utility>

#include "conv3d/winograd_product.h"

namespace ltxv::ops::cpu::LTXV_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kVectorFloats = 16, kMostRows = 12, kMostPanels = 2;  // 24 sums of 32 registers
#else
constexpr int64_t kVectorFloats = 8, kMostRows = 6, kMostPanels = 1;  // 12 sums of 16 registers
#endif
typedef float Vec __attribute__((vector_size(kVectorFloats * 4)));
constexpr int64_t kParts = kPanel / kVectorFloats;

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Not `Vec{} + x`: that is an addition, since it turns -0 into 0.
inline Vec splat(float x) {
#if defined(__AVX512F__)
  return Vec{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#else
  return Vec{x, x, x, x, x, x, x, x};
#endif
}

/// Rows x panels of the result, kept in registers over all channels. `u` of the next panel lies channels * kPanel further.
template <int kRows, int kPanels>
void block(const float* v, int64_t v_stride, const float* u, int64_t channels, float* m, int64_t m_stride) {
  Vec sums[kRows][kPanels * kParts] = {};
  for (int64_t c = 0; c < channels; ++c) {
    Vec weights[kPanels * kParts];
#pragma GCC unroll 4
    for (int i = 0; i < kPanels * kParts; ++i)
      weights[i] = load(u + (i / kParts * channels + c) * kPanel + i % kParts * kVectorFloats);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec x = splat(v[r * v_stride + c]);
#pragma GCC unroll 4
      for (int i = 0; i < kPanels * kParts; ++i) sums[r][i] += x * weights[i];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < kPanels * kParts; ++i) std::memcpy(m + r * m_stride + i * kVectorFloats, &sums[r][i], sizeof(Vec));
}

using Block = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);
template <int kPanels, int... kRows>
constexpr Block block_of(int64_t rows, std::integer_sequence<int, kRows...>) {
  constexpr Block table[] = {block<kRows + 1, kPanels>...};
  return table[rows - 1];
}

}  // namespace

void winograd_product(const WinogradProductArgs& a, int64_t plane_begin, int64_t plane_end) {
  const int64_t v_stride = a.channels + kRowGap, panels = a.count / kPanel;
  using Rows = std::make_integer_sequence<int, kMostRows>;
  for (int64_t p = plane_begin; p < plane_end; ++p) {
    const float* v = a.v + p * a.capacity * v_stride;
    const float* u = a.u + p * panels * a.channels * kPanel;
    float* m = a.m + p * a.capacity * a.count;
    // A panel of weights stays in the nearest cache while the rows pass by.
    for (int64_t n = 0; n < panels; n += kMostPanels) {
      const bool full = panels - n >= kMostPanels;
      for (int64_t r = 0; r < a.rows; r += kMostRows) {
        const int64_t rows = std::min(kMostRows, a.rows - r);
        const Block run = full ? block_of<kMostPanels>(rows, Rows{}) : block_of<1>(rows, Rows{});
        run(v + r * v_stride, v_stride, u + n * a.channels * kPanel, a.channels, m + r * a.count + n * kPanel, a.count);
      }
    }
  }
}

}  // namespace ltxv::ops::cpu::LTXV_ISA
