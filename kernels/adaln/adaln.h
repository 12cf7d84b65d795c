#pragma once
// Adaptive layer norm pieces of the transformer block: norm + modulate, and gate + residual.
#include "base/tensor.h"
#include "quant_linear/quant_linear.h"

namespace ltxv::ops {

/// Which row of a modulation table belongs to each token. `index` undefined: row 0 for all tokens; else i64 [N].
struct TokenRows {
  at::Tensor index;
};

/// rms_norm(x) * (1 + scale) + shift over the last axis, statistics and arithmetic in f32, one rounding.
/// Shapes: x [B,N,D] contiguous; scale, shift [U,D] f32, last axis contiguous; rows.index [N] with values in [0,U).
/// Returns [B,N,D] in x's dtype. Errors: InvalidArgument on mismatched shapes or dtypes.
/// Source: diffusers transformer_ltx.py, LTXVideoTransformerBlock.forward (norm1, norm2).
at::Tensor rms_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, const TokenRows& rows,
                             double eps);

/// x += y * gate, in place. Shapes: x, y [B,N,D] contiguous, one dtype; gate [U,D] f32; undefined gate: x += y.
/// Errors: InvalidArgument on mismatched shapes or dtypes.
void add_gated_(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const TokenRows& rows);

/// add_gated_ and then rms_norm_modulate of the sum as stored, in one pass over the rows.
/// Shapes: as the two; all tables share `rows`. Returns the normed rows.
/// Errors: InvalidArgument on mismatched shapes or dtypes.
at::Tensor gated_norm_modulate_(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const at::Tensor& scale,
                                const at::Tensor& shift, const TokenRows& rows, double eps);

/// gated_norm_modulate_ whose normed rows come as codes, made before they are rounded. y undefined: x stays, and its norm is returned.
/// Errors: InvalidArgument on mismatched shapes or dtypes.
QuantisedRows gated_norm_quantise_(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const at::Tensor& scale, const at::Tensor& shift,
                                   const TokenRows& rows, double eps, QuantType type);

}  // namespace ltxv::ops
