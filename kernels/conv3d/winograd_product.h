#pragma once
// The 64 matrix products in the middle of a Winograd convolution, on CPUs: POD arguments, no torch. The transforms write both factors
// in the order in which the product reads them, so that nothing is packed again. One source (winograd_product.inl) is compiled once
// an instruction set; callers pick by registry.h cpu_features().
#include <cstdint>

namespace ltxv::ops::cpu {

/// Output channels of one panel of the transformed weights.
inline constexpr int64_t kPanel = 16;
/// Floats left free behind a row of the transformed input: rows a power of two apart would share a few sets of the cache.
inline constexpr int64_t kRowGap = 16;

/// m[p,r,o] = sum over c of v[p,r,c] * u[p,o,c], in f32.
/// Shapes: v [planes,capacity,channels + kRowGap], u [planes,count / kPanel,channels,kPanel], m [planes,capacity,count].
struct WinogradProductArgs {
  const float* v;
  const float* u;
  float* m;
  int64_t rows, capacity, channels, count;
};

namespace avx512 {
void winograd_product(const WinogradProductArgs& args, int64_t plane_begin, int64_t plane_end);
}
namespace avx2 {
void winograd_product(const WinogradProductArgs& args, int64_t plane_begin, int64_t plane_end);
}

}  // namespace ltxv::ops::cpu
