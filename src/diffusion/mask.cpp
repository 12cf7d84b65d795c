#include "diffusion/mask.h"

#include "base/error.h"

namespace ltxv {

at::Tensor kept_strength(const at::Tensor& mask, const Compression& compression, int64_t blend_cells) {
  const LatentShape cells = latent_shape({mask.size(2), mask.size(3), mask.size(4)}, compression);
  // The first latent frame holds one frame, every other one `temporal` of them.
  auto in_time = mask.narrow(2, 0, 1);
  if (cells.frames > 1) {
    const auto rest = mask.narrow(2, 1, mask.size(2) - 1)
                          .reshape({1, 1, cells.frames - 1, compression.temporal, mask.size(3), mask.size(4)});
    in_time = at::cat({in_time, rest.amax(3)}, 2);
  }
  const int64_t side = compression.spatial;
  const auto generated = in_time.reshape({cells.frames, cells.height, side, cells.width, side}).amax(at::IntArrayRef{2, 4}).unsqueeze(1);
  auto level = generated;  // [T,1,H,W]
  for (int64_t d = 1; d <= blend_cells; ++d) {
    const auto near = at::max_pool2d(generated, {2 * d + 1, 2 * d + 1}, {1, 1}, {d, d});
    level = at::maximum(level, near * (1.0 - static_cast<double>(d) / static_cast<double>(blend_cells + 1)));
  }
  return (1 - level).view({1, 1, cells.frames, cells.height, cells.width});
}

at::Tensor kept_over(const at::Tensor& kept, const at::Tensor& changed, const at::Tensor& strength) {
  return at::where(strength == 1, kept, kept * strength + changed * (1 - strength));
}

at::Tensor mix_with_noise(const at::Tensor& latents, const at::Tensor& noise, double sigma, const at::Tensor& strength) {
  const auto level = at::full({1}, static_cast<float>(sigma), at::kFloat);
  const auto s = strength.defined() ? at::minimum(level, 1 - strength) : level;
  return noise * s + latents * (1 - s);
}

}  // namespace ltxv
