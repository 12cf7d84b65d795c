#pragma once
// What cases and benches make their inputs of.
#include <limits>

#include "base/tensor.h"
#include "launchers.h"

namespace ltxv::gpu_check {

/// Normal values on the device.
inline at::Tensor draw(at::IntArrayRef shape, at::ScalarType dtype) { return at::randn(shape, at::TensorOptions().device(at::kCUDA)).to(dtype); }
inline at::Tensor draw(at::IntArrayRef shape) { return draw(shape, at::kFloat); }
/// Seconds, pixel rows and columns of the tokens of a video of 512x768 at 25 frames a second, on the host. -> f32 [3,N]
inline at::Tensor headline_positions(int64_t tokens) {
  const auto index = at::arange(tokens);
  return at::stack({index.div(384, "floor") * 8 / 25.0, index.div(24, "floor").remainder(16) * 32, index.remainder(24) * 32}).to(at::kFloat);
}
inline at::Tensor f64(const at::Tensor& t) { return t.to(at::kDouble); }
inline ops::gpu::Element element(at::ScalarType dtype) { return dtype == at::kFloat ? ops::gpu::Element::f32 : ops::gpu::Element::bf16; }
inline const char* name_of(at::ScalarType dtype) { return dtype == at::kFloat ? "f32" : "bf16"; }
inline void poison(const at::Tensor& t) { t.fill_(std::numeric_limits<double>::quiet_NaN()); }
inline int32_t i32(int64_t v) { return static_cast<int32_t>(v); }

}  // namespace ltxv::gpu_check
