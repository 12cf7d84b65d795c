#include "nn/timestep.h"

#include <cmath>

namespace ltxv::nn {
namespace {
constexpr int64_t kSinusoidWidth = 256;
}

at::Tensor timestep_sinusoid(const at::Tensor& s) {
  constexpr int64_t kHalf = kSinusoidWidth / 2;
  const auto frequencies = at::exp(at::arange(kHalf, s.options()) * -std::log(10000.0) / kHalf);
  const auto angles = s.unsqueeze(-1) * frequencies;
  return at::cat({angles.cos(), angles.sin()}, -1);
}

TimestepEmbedder::TimestepEmbedder(const Scope& at, int64_t width)
    : linear_1(at / "timestep_embedder" / "linear_1", kSinusoidWidth, width),
      linear_2(at / "timestep_embedder" / "linear_2", width, width) {}

at::Tensor TimestepEmbedder::operator()(const at::Tensor& s) const {
  return linear_2(at::silu(linear_1(timestep_sinusoid(s).to(linear_1.dtype()))));
}

}  // namespace ltxv::nn
