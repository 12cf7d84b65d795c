#pragma once
#include "base/tensor.h"
#include "qk_norm_rope/qk_norm_rope.h"
#include "transformer/transformer_config.h"

namespace ltxv {

/// Rotary tables of one run: one angle for each adjacent pair of channels, all heads together.
using RopeTable = ops::RotaryTables;

/// Shapes: positions f32 [3,N]: seconds, pixel row, pixel column of every token -> cos, sin f32 [N,D/2].
/// Angles are formed in f32 in the reference's order: frequencies reach 1.6e4, so another order or f64 moves the cosine by 3e-3.
/// Source: diffusers transformer_ltx.py, LTXVideoRotaryPosEmbed.forward.
RopeTable make_rope_table(const at::Tensor& positions, const TransformerConfig& config);
/// The same angles, each different position of an axis once: cos, sin f32 [R,D/6], rows i32 [N,3].
RopeTable make_separable_rope_table(const at::Tensor& positions, const TransformerConfig& config);

}  // namespace ltxv
