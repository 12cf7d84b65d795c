#include "nn/layers.h"

namespace ltxv::nn {

Linear::Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias)
    : weight(at.take("weight", {out, in})), bias(with_bias == Bias::yes ? at.take("bias", {out}) : at::Tensor()) {}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

}  // namespace ltxv::nn
