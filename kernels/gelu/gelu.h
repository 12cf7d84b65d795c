#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// x := gelu(x) = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the approximation that the released weights were trained with.
/// Shapes: x any, contiguous for the fast variants. Errors: InvalidArgument for a type that is not floating point.
/// Source: diffusers activations.py, GELU with approximate="tanh". ATen's own evaluates tanh to one ulp at five times the time.
void gelu_tanh_(at::Tensor& x);

}  // namespace ltxv::ops
