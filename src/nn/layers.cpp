#include "nn/layers.h"

namespace ltxv::nn {
namespace {

// Logically [out,in], stored [in,out]: so the BLAS reads a small matrix as it lies, where it packs the transpose anew in every call
// (15 % of a denoising step of the bundled model, 96 rows by 192 columns). A large one stays in the mapped file.
at::Tensor stored_for_products(const at::Tensor& weight) {
  constexpr int64_t kLargest = 1 << 20;
  if (weight.scalar_type() != at::kFloat || weight.numel() > kLargest) return weight;
  return weight.t().contiguous().t();
}

}  // namespace

Linear::Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias)
    : weight(stored_for_products(at.take("weight", {out, in}))),
      bias(with_bias == Bias::yes ? at.take("bias", {out}) : at::Tensor()) {}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

}  // namespace ltxv::nn
