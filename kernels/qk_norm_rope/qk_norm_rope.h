#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// RMS norm over the whole width D (all heads together) with a learned weight, then rotary positions on adjacent pairs:
/// out[2i] = x[2i] cos[i] - x[2i+1] sin[i], out[2i+1] = x[2i+1] cos[i] + x[2i] sin[i]. In place; f32 inside, one rounding.
/// Shapes: x [B,N,D] contiguous; weight [D]; cos, sin [N,D/2] f32 contiguous, or both undefined for the norm alone.
/// Errors: InvalidArgument on mismatched shapes.
/// Source: diffusers transformer_ltx.py, LTXVideoAttnProcessor.__call__ and apply_rotary_emb.
void qk_norm_rope_(at::Tensor& x, const at::Tensor& weight, const at::Tensor& cos, const at::Tensor& sin, double eps);

/// Queries and keys of one attention, which share positions: one launch on a GPU, if both lie alike. Shapes: q, k as x above.
void qk_norm_rope_(at::Tensor& q, const at::Tensor& q_weight, at::Tensor& k, const at::Tensor& k_weight, const at::Tensor& cos,
                   const at::Tensor& sin, double eps);

}  // namespace ltxv::ops
