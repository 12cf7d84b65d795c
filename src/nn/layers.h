#pragma once
// Parameterised layers shared by the networks. They own tensor handles by value and are const after construction.
#include "base/tensor.h"
#include "weights/parameters.h"

namespace ltxv::nn {

enum class Bias { no, yes };

/// y = x W^T + b. Shapes: weight [out,in], x [..,in] -> [..,out].
struct Linear {
  at::Tensor weight, bias;

  Linear() = default;
  Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias = Bias::yes);
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace ltxv::nn
