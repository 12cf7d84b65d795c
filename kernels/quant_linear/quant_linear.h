#pragma once
// Products of eight-bit codes (W8A8): rows of activations with a scale each, weights with a scale for each output channel. Half the
// bytes of bf16, and up to twice its rate where the processor multiplies bytes. It costs accuracy: docs/performance.md says how much.
#include <vector>

#include "base/tensor.h"

namespace ltxv::ops {

/// int8: -127 to 127, in even steps. fp8: e4m3, 4 exponent and 3 mantissa bits, up to 448.
enum class QuantType { int8, fp8 };

/// Each row's largest magnitude becomes 127 or 448; element = code * scale of its row. NaN or Inf in a row make its scale NaN or Inf.
/// Shapes: codes [..,K] i8 or float8_e4m3fn; scales f32 [rows], rows = product of the leading axes.
struct QuantisedRows {
  at::Tensor codes, scales;
  bool defined() const { return codes.defined(); }
};

/// [out,in]. `packed`: the codes in the order in which this processor's matrix units read them, which only they understand.
struct QuantisedWeight {
  QuantType type = QuantType::int8;
  int64_t out = 0, in = 0;
  at::Tensor codes, packed;  ///< one of them
  at::Tensor scales;         ///< f32 [out]
  at::Tensor zero_points;    ///< i32 [out], zeros, with `packed`: its product asks for them
};

/// Shapes: x [..,K] f32 or bf16, contiguous. Errors: InvalidArgument on other shapes or dtypes.
QuantisedRows quantise_rows(const at::Tensor& x, QuantType type);
/// gelu(x), the tanh approximation, quantised; the GELU is not rounded before. Shapes and errors: as quantise_rows.
QuantisedRows gelu_quantise_rows(const at::Tensor& x, QuantType type);
/// code * scale in `dtype`. Shapes: as rows.codes.
at::Tensor widened(const QuantisedRows& rows, at::ScalarType dtype);

/// The rows of all, in order. Shapes: [n_i,K] each, of one type -> [sum of n_i,K].
QuantisedRows joined_rows(const std::vector<QuantisedRows>& parts);

/// A weight of codes and scales of its output channels. Shapes: codes [out,in], scales f32 [out], on one device.
/// On a CPU with instructions for products of bytes int8 codes are packed.
QuantisedWeight quantised_weight(at::Tensor codes, at::Tensor scales, QuantType type);

/// x W^T + b: sums of products of codes (exact for int8; in f32 for fp8), then both scales and the bias in f32, one rounding more than
/// in f32 where the matrix units of LibTorch give bf16.
/// Shapes: x.codes [..,in] of the weight's type, bias [out] or undefined -> [..,out] in `dtype`, f32 or bf16.
/// Errors: InvalidArgument on mismatched shapes or types.
/// Source: the arithmetic of torchao's Float8DynamicActivationFloat8WeightConfig with one scale a row, and of its int8 counterpart.
at::Tensor quant_linear(const QuantisedRows& x, const QuantisedWeight& weight, const at::Tensor& bias, at::ScalarType dtype);
/// gelu_quantise_rows of quant_linear: the feed-forward's hidden layer. On a CPU it leaves the product's pass through memory as codes.
QuantisedRows quant_linear_gelu(const QuantisedRows& x, const QuantisedWeight& weight, const at::Tensor& bias, at::ScalarType dtype);

}  // namespace ltxv::ops
