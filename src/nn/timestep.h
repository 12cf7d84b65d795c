#pragma once
#include "nn/layers.h"

namespace ltxv::nn {

/// The sinusoid of a timestep: [cos(s f_k) | sin(s f_k)], f_k = 10000^(-k/128), k = 0..127. f32 throughout: in bf16 the products
/// would lose the step.   Shapes: s f32 [U] -> f32 [U,256].
/// Source: diffusers embeddings.py, get_timestep_embedding (flip_sin_to_cos, downscale_freq_shift 0).
at::Tensor timestep_sinusoid(const at::Tensor& s);

/// linear_2(silu(linear_1(sinusoid(s)))); the transformer and the VAE decoder both have them.
/// Shapes: s f32 [U] -> [U,width] in the weights' dtype.   Source: diffusers embeddings.py, TimestepEmbedding.
struct TimestepEmbedder {
  Linear linear_1, linear_2;

  TimestepEmbedder() = default;
  TimestepEmbedder(const Scope& at, int64_t width);
  at::Tensor operator()(const at::Tensor& s) const;
};

}  // namespace ltxv::nn
