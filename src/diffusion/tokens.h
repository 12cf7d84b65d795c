#pragma once
// Between latent volumes and token lists. Token order is frame, row, column; column fastest.
#include "base/tensor.h"
#include "base/video_shape.h"

namespace ltxv {

/// [B,C,T,H,W] -> [B,N,C] contiguous.
at::Tensor to_tokens(const at::Tensor& volume);
/// [B,N,C] -> [B,C,T,H,W] contiguous.
at::Tensor to_volume(const at::Tensor& tokens, const LatentShape& shape);

/// Where latent frames lie in time.
enum class FrameRule {
  plain,  ///< latent frame f at pixel frame 8f
  causal  ///< at max(0, 8f - 7): the first latent frame holds one pixel frame only
};

/// Pixel coordinates of every token of a latent grid: frame (+ frame_offset), row, column. i64 [3,N].
/// Source: LTX-Video models/autoencoders/vae_encode.py, latent_to_pixel_coords.
at::Tensor grid_coordinates(const LatentShape& shape, const Compression& compression, FrameRule rule, int64_t frame_offset = 0);

/// Positions for the rotary table: seconds = frame * (1 / fps) in f32, pixels as they are. f32 [3,N].
at::Tensor to_positions(const at::Tensor& coordinates, double frames_per_second);

}  // namespace ltxv
