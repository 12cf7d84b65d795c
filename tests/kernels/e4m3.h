#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

namespace ltxv::test {

/// An e4m3 code's value by its definition: sign, exponent of 4 bits with bias 7, mantissa of 3; all ones are NaN.
/// Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.
inline double e4m3_value(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double magnitude = (code & 0x7f) == 0x7f ? std::numeric_limits<double>::quiet_NaN()
                           : exponent == 0       ? std::ldexp(mantissa, -9)
                                                 : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

}  // namespace ltxv::test
