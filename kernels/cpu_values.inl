// What the row kernels of a CPU share; compiled once per instruction set with LTXV_ISA defined. Loops are written in blocks of kLanes so
// that the compiler vectorises them without being allowed to reorder float arithmetic elsewhere.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace ltxv::ops::cpu::LTXV_ISA {
namespace {

constexpr int64_t kLanes = 16;

struct Bf16 {
  uint16_t bits;
};

inline float load(const float& v) { return v; }
inline float load(const Bf16& v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}
inline void store(float& to, float v) { to = v; }
inline void store(Bf16& to, float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);  // to nearest even
  to.bits = static_cast<uint16_t>((v != v ? bits | 0x400000 : rounded) >> 16);
}

// 1 / rms of a row. Sixteen partial sums: vectorisable, and more exact than one running sum.
template <class T>
inline float inverse_rms(const T* x, int64_t width, float eps) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const float v = load(x[i + l]);
      sums[l] += v * v;
    }
  for (int64_t l = 0; i < width; ++i, ++l) {
    const float v = load(x[i]);
    sums[l] += v * v;
  }
  float sum = 0;
  for (const float s : sums) sum += s;
  return 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
}

// exp within 2 ulp for |x| <= 87; beyond, the nearest of these two; e^87 for NaN. Taylor series on [-ln2/2, ln2/2], Cody-Waite reduction.
inline float exp_clamped(float x) {
  x = x < 87.0f ? x : 87.0f;
  x = x > -87.0f ? x : -87.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (x * 1.44269504088896341f + kRound) - kRound;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + (static_cast<int32_t>(n) << 23));
}

// 0.5 x (1 + tanh u) = x / (1 + exp(-2u)) with u = sqrt(2/pi) (x + 0.044715 x^3): one exponential, no cancellation near -1.
inline float gelu(float x) {
  constexpr float kTwice = 1.5957691216057308f;  // 2 sqrt(2/pi)
  x = -10.0f > x ? -10.0f : x;  // the result is below 1e-35 there, and -inf would meet the clamp; NaN stays
  return x / (1.0f + exp_clamped(x * (-kTwice - kTwice * 0.044715f * x * x)));
}

}  // namespace
}  // namespace ltxv::ops::cpu::LTXV_ISA
