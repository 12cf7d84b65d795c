#pragma once
// Number formats bit by bit, the same on host and device.
#include "cuda/simt.h"

namespace ltxv::ops::gpu {

LTXV_HD uint32_t float_bits(float v) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(v);
#else
  return __builtin_bit_cast(uint32_t, v);
#endif
}
LTXV_HD float float_from_bits(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}

/// The two bf16 of a word: the low half is the first in memory.
LTXV_HD float bf16_low(uint32_t word) { return float_from_bits(word << 16); }
LTXV_HD float bf16_high(uint32_t word) { return float_from_bits(word & 0xffff0000u); }

/// To nearest, ties to even; NaN stays NaN.
LTXV_HD uint32_t bf16_bits(float v) {
  const uint32_t bits = float_bits(v);
  if (v != v) return (bits >> 16 | 0x40u) & 0xffffu;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

/// Four exponent and three mantissa bits, bias 7, no infinities: to nearest, ties to even, beyond 448 to 448; NaN is 0x7f.
/// Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.
LTXV_HD uint32_t e4m3_bits(float v) {
  const uint32_t bits = float_bits(v), sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7fu;
  uint32_t code;
  if (magnitude < 0x3c800000u) {  // below 2^-6: multiples of 2^-9. Adding 2^23 rounds them to integers.
    const float shifted = float_from_bits(magnitude) * 512.0f + 8388608.0f;
    code = float_bits(shifted) & 0xfu;
  } else {
    const uint32_t rounded = (magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
    code = rounded - (120u << 3);
    code = code > 0x7eu ? 0x7eu : code;
  }
  return sign | code;
}

inline constexpr float kE4m3Max = 448.0f;

}  // namespace ltxv::ops::gpu
