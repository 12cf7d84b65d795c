#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// softmax(q k^T / sqrt(E)) v over `head_count` heads of width E = D / head_count; no mask, not causal.
/// Shapes: q [B,N,D], k and v [B,M,D], one dtype, last axis contiguous; returns [B,N,D].
/// Errors: InvalidArgument on mismatched shapes or dtypes.
/// Source: "Attention Is All You Need", equation 1.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t head_count);

}  // namespace ltxv::ops
