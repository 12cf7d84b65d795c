// Compiled once per instruction set with LTXV_ISA defined. Loops are written in blocks of kLanes so that the compiler vectorises
// them without being allowed to reorder float arithmetic elsewhere.
#include <bit>
#include <cmath>
#include <cstring>

#include "cpu_rows.h"

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

template <class T>
void norm_modulate_rows(const NormModulateRow& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* __restrict x = static_cast<const T*>(a.x) + row * a.width;
    T* __restrict out = static_cast<T*>(a.out) + row * a.width;
    const int64_t entry = a.index ? a.index[row % a.tokens] : 0;
    const float* __restrict scale = a.scale + entry * a.table_stride;
    const float* __restrict shift = a.shift + entry * a.table_stride;
    const float inverse = inverse_rms(x, a.width, a.eps);
    for (int64_t i = 0; i < a.width; ++i) store(out[i], load(x[i]) * inverse * (1.0f + scale[i]) + shift[i]);
  }
}

template <class T>
void add_gated_rows(const AddGatedRow& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    T* __restrict x = static_cast<T*>(a.x) + row * a.width;
    const T* __restrict y = static_cast<const T*>(a.y) + row * a.width;
    if (!a.gate) {
      for (int64_t i = 0; i < a.width; ++i) store(x[i], load(x[i]) + load(y[i]));
      continue;
    }
    const float* __restrict gate = a.gate + (a.index ? a.index[row % a.tokens] : 0) * a.table_stride;
    for (int64_t i = 0; i < a.width; ++i) store(x[i], load(x[i]) + load(y[i]) * gate[i]);
  }
}

template <class T>
void norm_rope_rows(const NormRopeRow& a, int64_t begin, int64_t end) {
  const T* __restrict weight = static_cast<const T*>(a.weight);
  for (int64_t row = begin; row < end; ++row) {
    T* __restrict x = static_cast<T*>(a.x) + row * a.width;
    const float inverse = inverse_rms(x, a.width, a.eps);
    if (!a.cos) {
      for (int64_t i = 0; i < a.width; ++i) store(x[i], load(x[i]) * inverse * load(weight[i]));
      continue;
    }
    const float* __restrict cos = a.cos + (row % a.tokens) * (a.width / 2);
    const float* __restrict sin = a.sin + (row % a.tokens) * (a.width / 2);
    for (int64_t i = 0; i < a.width / 2; ++i) {
      const float even = load(x[2 * i]) * inverse * load(weight[2 * i]);
      const float odd = load(x[2 * i + 1]) * inverse * load(weight[2 * i + 1]);
      store(x[2 * i], even * cos[i] - odd * sin[i]);
      store(x[2 * i + 1], odd * cos[i] + even * sin[i]);
    }
  }
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

template <class T>
void gelu_elements(T* x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) store(x[i], gelu(load(x[i])));
}

}  // namespace

void norm_modulate(const NormModulateRow& a, int64_t begin, int64_t end) {
  a.type == RowType::f32 ? norm_modulate_rows<float>(a, begin, end) : norm_modulate_rows<Bf16>(a, begin, end);
}
void add_gated(const AddGatedRow& a, int64_t begin, int64_t end) {
  a.type == RowType::f32 ? add_gated_rows<float>(a, begin, end) : add_gated_rows<Bf16>(a, begin, end);
}
void norm_rope(const NormRopeRow& a, int64_t begin, int64_t end) {
  a.type == RowType::f32 ? norm_rope_rows<float>(a, begin, end) : norm_rope_rows<Bf16>(a, begin, end);
}
void gelu_tanh(const GeluTanh& a, int64_t begin, int64_t end) {
  a.type == RowType::f32 ? gelu_elements(static_cast<float*>(a.x), begin, end) : gelu_elements(static_cast<Bf16*>(a.x), begin, end);
}

}  // namespace ltxv::ops::cpu::LTXV_ISA
