#pragma once
// What is done to whole latent volumes between and after sampling passes.
#include "base/tensor.h"

namespace ltxv {

/// Gives every channel the mean and deviation of the same channel of `reference`, and mixes: 1 = fully, 0 = not at all.
/// The volumes may differ in size, not in channels.
/// Shapes: x, reference f32 [B,C,T,H,W].   Errors: InvalidArgument when a volume has fewer than two positions.
/// Source: LTX-Video pipeline_ltx_video.py, adain_filter_latent.
at::Tensor match_statistics(const at::Tensor& x, const at::Tensor& reference, double factor);

/// Draws large values towards zero, more of it the larger `compression` in [0,1]; 0 leaves everything as it is.
/// Source: LTX-Video pipeline_ltx_video.py, tone_map_latents.
at::Tensor compress_tones(const at::Tensor& latents, double compression);

}  // namespace ltxv
