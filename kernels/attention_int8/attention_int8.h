#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// ops::attention in eight bits: scores are products of int8 codes, their exponentials meet the values in e4m3, sums are f32. Twice the
/// products a clock of bf16 where the hardware has them, and less exact; docs/performance.md says how much.
///   k: less its mean over the tokens, channel by channel, which changes no softmax and takes off what all keys share; then int8 with one
///      scale for each 64 tokens of a head.
///   q: int8 with one scale for each token of a head.
///   v: e4m3 with one scale for each channel of a head.
///   p: 2^(score - largest score + 8) in e4m3: the 8 uses the codes' range, 2^-6 to 448, for weights down to 2^-14 of the largest, costs
///      nothing, and cancels in the division by the sum of the unrounded weights. Kernels that see the keys in tiles round relative to the
///      largest score so far.
/// Shapes and errors: as ops::attention.
/// Source: Zhang et al., "SageAttention2", 2024: smoothing of K, int8 for Q and K, fp8 for P and V.
at::Tensor attention_int8(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t head_count);

/// Whether a kernel of ours may compute it on that device, verified there or pinned; else LibTorch's operations do, which hold every score of
/// some queries in memory.
bool has_int8_attention(at::Device device, int64_t head_width);

}  // namespace ltxv::ops
