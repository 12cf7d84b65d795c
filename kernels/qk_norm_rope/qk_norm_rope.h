#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// Cosines and sines of rotary positions. Without `rows`: of every token and pair, cos and sin [N,D/2]; undefined: nothing is turned.
/// With `rows`, i32 [N,3]: separable, cos and sin [R,K], K = D/6 (rounded down). A token's rows are those of its time, its row and its
/// column; the first (D - 6K)/2 pairs are not turned, pair 3k + axis behind them by entry k of the axis's row. All f32, contiguous.
struct RotaryTables {
  at::Tensor cos, sin, rows;
};
/// The same angles without `rows`.   Shapes: D = width.
RotaryTables expanded(const RotaryTables& tables, int64_t width);
/// Whether the op reads separable tables on this device as they are; elsewhere it expands them in every call.
bool reads_separable_tables(at::Device device);

/// RMS norm over the whole width D (all heads together) with a learned weight, then rotary positions on adjacent pairs:
/// out[2i] = x[2i] cos[i] - x[2i+1] sin[i], out[2i+1] = x[2i+1] cos[i] + x[2i] sin[i]. In place; f32 inside, one rounding.
/// Shapes: x [B,N,D] contiguous; weight [D]. Errors: InvalidArgument on mismatched shapes.
/// Source: diffusers transformer_ltx.py, LTXVideoAttnProcessor.__call__ and apply_rotary_emb.
void qk_norm_rope_(at::Tensor& x, const at::Tensor& weight, const RotaryTables& tables, double eps);

/// Queries and keys of one attention, which share positions: one launch on a GPU, if both lie alike. Shapes: q, k as x above.
void qk_norm_rope_(at::Tensor& q, const at::Tensor& q_weight, at::Tensor& k, const at::Tensor& k_weight, const RotaryTables& tables,
                   double eps);

}  // namespace ltxv::ops
