#include "diffusion/latent_filters.h"

#include <array>

#include "base/error.h"

namespace ltxv {

at::Tensor match_statistics(const at::Tensor& x, const at::Tensor& reference, double factor) {
  const auto positions = [](const at::Tensor& v) { return v.size(2) * v.size(3) * v.size(4); };
  LTXV_CHECK(positions(x) > 1 && positions(reference) > 1, "statistics of latents ", x.sizes(), " and ", reference.sizes(),
             ": one position has no deviation");
  constexpr std::array<int64_t, 3> axes = {2, 3, 4};
  const auto deviation = [&](const at::Tensor& v) { return v.std(at::IntArrayRef(axes), /*unbiased=*/true, /*keepdim=*/true); };
  const auto mean = [&](const at::Tensor& v) { return v.mean(at::IntArrayRef(axes), /*keepdim=*/true); };
  const auto matched = (x - mean(x)) / deviation(x) * deviation(reference) + mean(reference);
  return at::lerp(x, matched, factor);
}

at::Tensor compress_tones(const at::Tensor& latents, double compression) {
  // The released settings were tuned with these two numbers.
  constexpr double kStrength = 0.75, kDepth = 0.8;
  const double k = kStrength * compression;
  return latents * (1.0 - kDepth * k * at::sigmoid((latents.abs() - 1.0) * (4.0 * k)));
}

}  // namespace ltxv
