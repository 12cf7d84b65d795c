#pragma once
// Which CUDA kernel each op uses on a device, and why: for descriptions and `ltxv doctor --kernels`.
#include <cstdint>
#include <string>
#include <vector>

#include "launchers.h"

namespace ltxv::ops {

struct CudaChoice {
  std::string op, variant, why;  ///< "attention", "sdpa", "cuda_mma: not verified on sm_90"
};

/// One row an op of the table. A kernel is chosen where docs/gpu/ has a record of its machine code on this architecture, or where
/// LTXV_KERNELS pins it; else LibTorch's operations are.
/// `arch`: major * 10 + minor of the device.   Errors: InvalidArgument for a malformed LTXV_KERNELS.
std::vector<CudaChoice> cuda_choices(const gpu::CudaKernelTable& table, int32_t arch);

}  // namespace ltxv::ops
