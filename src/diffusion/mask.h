#pragma once
// Masks over pixels, as how much of every latent cell stays.
#include "base/tensor.h"
#include "base/video_shape.h"

namespace ltxv {

/// Strength of every latent cell: 1 keeps it as it is, 0 generates it. A cell is generated as far as any of its pixels is, so that
/// nothing of what a mask covers shines through. Over `blend_cells` rows and columns around what is generated the strength falls
/// in equal steps: a cell at distance d may change like a mask of 1 - d / (blend_cells + 1).
/// Shapes: mask f32 [1,1,T,H,W] in [0,1], 1 = generate, on the grid -> f32 [1,1,Tl,Hl,Wl].
at::Tensor kept_strength(const at::Tensor& mask, const Compression& compression, int64_t blend_cells = 0);

/// `kept` as far as `strength` keeps it, the rest of `changed`; where the strength is 1 exactly `kept`.
/// Shapes: kept, changed f32 [1,C,T,H,W]; strength f32 [1,1,T,H,W].
at::Tensor kept_over(const at::Tensor& kept, const at::Tensor& changed, const at::Tensor& strength);

/// Where a run on kept latents starts: noise as far as the schedule begins and the strength lets it,
/// x = s noise + (1 - s) latents with s = min(sigma, 1 - strength). Without a strength, s = sigma.
/// Shapes: latents, noise f32 [1,C,T,H,W]; strength f32 [1,1,T,H,W] or undefined.
/// Source: LTX-Video pipeline_ltx_video.py, prepare_latents (the mix) and __call__ (the level of a conditioned token).
at::Tensor mix_with_noise(const at::Tensor& latents, const at::Tensor& noise, double sigma, const at::Tensor& strength);

}  // namespace ltxv
