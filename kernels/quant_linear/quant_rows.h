#pragma once
// Rows into eight-bit codes on a CPU: POD arguments, no torch. One source (quant_rows.inl) is compiled once per instruction set.
#include "cpu_rows.h"

namespace ltxv::ops::cpu {

enum class Code : int32_t { int8, e4m3 };

/// Where a row's codes go: code = value / scale, the scale such that the row's largest magnitude becomes 127 or 448. NaN or Inf in a row
/// make its scale NaN or Inf.
struct CodedRows {
  Code code;
  void* codes;    ///< [rows, width], a byte each; nullptr: no codes are made
  float* scales;  ///< [rows]
};

/// v = x * row_scale + bias, then GELU if asked for, then codes or values.
struct QuantiseRow {
  RowType type;            ///< of x and values
  const void* x;           ///< [rows, width]
  const float* row_scale;  ///< [rows] or nullptr: 1
  const float* bias;       ///< [width] or nullptr: 0
  bool gelu;
  CodedRows to;
  void* values;  ///< [rows, width] where there are no codes; may be x
  int64_t width;
};

#define LTXV_DECLARE_ROWS(ISA)                                                                             \
  namespace ISA {                                                                                          \
  void quantise(const QuantiseRow& args, int64_t begin, int64_t end);                                      \
  void norm_quantise(const NormModulateRow& norm, const CodedRows& to, int64_t begin, int64_t end);        \
  }
LTXV_DECLARE_ROWS(avx512)
LTXV_DECLARE_ROWS(avx2)
#undef LTXV_DECLARE_ROWS

}  // namespace ltxv::ops::cpu
