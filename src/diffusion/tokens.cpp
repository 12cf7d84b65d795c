#include "diffusion/tokens.h"

namespace ltxv {

at::Tensor to_tokens(const at::Tensor& volume) { return volume.flatten(2).transpose(1, 2).contiguous(); }

at::Tensor to_volume(const at::Tensor& tokens, const LatentShape& shape) {
  LTXV_CHECK(tokens.dim() == 3 && tokens.size(1) == shape.token_count(), "tokens [B,", shape.token_count(),
             ",C] expected, got ", tokens.sizes());
  return tokens.transpose(1, 2).reshape({tokens.size(0), tokens.size(2), shape.frames, shape.height, shape.width}).contiguous();
}

at::Tensor grid_coordinates(const LatentShape& shape, const Compression& compression, FrameRule rule, int64_t frame_offset) {
  auto frame = at::arange(shape.frames, at::kLong) * compression.temporal;
  if (rule == FrameRule::causal) frame = (frame + 1 - compression.temporal).clamp_min(0);
  const auto row = at::arange(shape.height, at::kLong) * compression.spatial;
  const auto column = at::arange(shape.width, at::kLong) * compression.spatial;
  const auto grid = at::meshgrid({frame + frame_offset, row, column}, "ij");
  return at::stack({grid[0], grid[1], grid[2]}).flatten(1);
}

at::Tensor to_positions(const at::Tensor& coordinates, double frames_per_second) {
  auto positions = coordinates.to(at::kFloat);
  // The reciprocal is rounded to f32 first, as the reference does; dividing instead moves the last bit, and the tables amplify it.
  positions[0].mul_(static_cast<float>(1.0 / frames_per_second));
  return positions;
}

}  // namespace ltxv
