#pragma once
// The only door to ATen, precompiled for every component that computes with tensors (docs/decisions/0002). No .cu file and no
// file of the torch-free core includes it.
#include <ATen/ATen.h>

namespace ltxv {
using at::Tensor;
}
