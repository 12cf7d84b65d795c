// Compiled once per instruction set with LTXV_ISA defined.
#include <vector>

#include "cpu_values.inl"
#include "quant_linear/quant_rows.h"

namespace ltxv::ops::cpu::LTXV_ISA {
namespace {

// Adding it leaves the nearest integer, ties to even, in the low bits of a float below 2^22.
constexpr float kToInteger = 12582912.0f;

inline uint8_t int8_code(float v) { return static_cast<uint8_t>(std::bit_cast<uint32_t>(v + kToInteger)); }

// To nearest, ties to even, without a branch. |v| is at most a rounding above 448; NaN becomes 0x7f.
// Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.
inline uint8_t e4m3_code(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v), magnitude = bits & 0x7fffffffu;
  // Below 2^-6 multiples of 2^-9.
  const uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 512.0f + kToInteger) & 0xfu;
  const uint32_t rounded = ((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - (120u << 3);
  const uint32_t normal = rounded > 0x7eu ? 0x7eu : rounded;
  const uint32_t code = magnitude < 0x3c800000u ? small : normal;
  return static_cast<uint8_t>((bits >> 24 & 0x80u) | (magnitude > 0x7f800000u ? 0x7fu : code));
}

void encode(const float* __restrict v, int64_t width, const CodedRows& to, int64_t row) {
  // Magnitudes are ordered as their bits are, and NaN and Inf are above all numbers.
  uint32_t largest = 0;
  for (int64_t i = 0; i < width; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(v[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  const float most = std::bit_cast<float>(largest), range = to.code == Code::int8 ? 127.0f : 448.0f;
  to.scales[row] = most / range;
  // A row of zeros, or so small that its inverse is infinite: zeros.
  const float factor = most > 1e-30f ? range / most : 0.0f;
  uint8_t* __restrict codes = static_cast<uint8_t*>(to.codes) + row * width;
  if (to.code == Code::int8) {
    for (int64_t c = 0; c < width; ++c) codes[c] = int8_code(v[c] * factor);
  } else {
    for (int64_t c = 0; c < width; ++c) codes[c] = e4m3_code(v[c] * factor);
  }
}

template <class T>
void quantise_rows(const QuantiseRow& a, int64_t begin, int64_t end) {
  std::vector<float> buffer(static_cast<size_t>(a.width));
  float* __restrict v = buffer.data();
  for (int64_t row = begin; row < end; ++row) {
    const T* __restrict x = static_cast<const T*>(a.x) + row * a.width;
    const float scale = a.row_scale ? a.row_scale[row] : 1.0f;
    if (a.bias) {
      for (int64_t i = 0; i < a.width; ++i) v[i] = load(x[i]) * scale + a.bias[i];
    } else {
      for (int64_t i = 0; i < a.width; ++i) v[i] = load(x[i]) * scale;
    }
    if (a.gelu)
      for (int64_t i = 0; i < a.width; ++i) v[i] = gelu(v[i]);
    if (a.to.codes) {
      encode(v, a.width, a.to, row);
      continue;
    }
    T* __restrict out = static_cast<T*>(a.values) + row * a.width;
    for (int64_t i = 0; i < a.width; ++i) store(out[i], v[i]);
  }
}

template <class T>
void norm_rows(const NormModulateRow& a, const CodedRows& to, int64_t begin, int64_t end) {
  std::vector<float> buffer(static_cast<size_t>(a.width));
  float* __restrict v = buffer.data();
  for (int64_t row = begin; row < end; ++row) {
    const T* __restrict x = static_cast<const T*>(a.x) + row * a.width;
    const int64_t entry = a.index ? a.index[row % a.tokens] : 0;
    const float* __restrict scale = a.scale + entry * a.table_stride;
    const float* __restrict shift = a.shift + entry * a.table_stride;
    const float inverse = inverse_rms(x, a.width, a.eps);
    for (int64_t i = 0; i < a.width; ++i) v[i] = load(x[i]) * inverse * (1.0f + scale[i]) + shift[i];
    encode(v, a.width, to, row);
  }
}

}  // namespace

void quantise(const QuantiseRow& a, int64_t begin, int64_t end) {
  a.type == RowType::f32 ? quantise_rows<float>(a, begin, end) : quantise_rows<Bf16>(a, begin, end);
}
void norm_quantise(const NormModulateRow& norm, const CodedRows& to, int64_t begin, int64_t end) {
  norm.type == RowType::f32 ? norm_rows<float>(norm, to, begin, end) : norm_rows<Bf16>(norm, to, begin, end);
}

}  // namespace ltxv::ops::cpu::LTXV_ISA
