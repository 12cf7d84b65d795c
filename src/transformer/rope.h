#pragma once
#include "base/tensor.h"
#include "transformer/transformer_config.h"

namespace ltxv {

/// Rotary tables of one run: one angle for each adjacent pair of channels, all heads together.
struct RopeTable {
  at::Tensor cos, sin;  ///< f32 [N, D/2] contiguous
};

/// Shapes: positions f32 [3,N]: seconds, pixel row, pixel column of every token.
/// Angles are formed in f32 in the reference's order: frequencies reach 1.6e4, so another order or f64 moves the cosine by 3e-3.
/// Source: diffusers transformer_ltx.py, LTXVideoRotaryPosEmbed.forward.
RopeTable make_rope_table(const at::Tensor& positions, const TransformerConfig& config);

}  // namespace ltxv
