#pragma once
// The way from the library to the CUDA plug-in. Opening it loads LibTorch's CUDA part: hundreds of MB that a CPU run never sees, so
// nothing here may be called before a CUDA device was asked for. Ops look at a tensor's device first.
#include <string>
#include <string_view>

#include "base/tensor.h"
#include "launchers.h"

namespace ltxv::ops {

struct CudaPlugin {
  const gpu::CudaKernelTable* table = nullptr;  ///< nullptr: not there, and `problem` says why
  std::string problem;
};

/// Opens libltxv_cuda.so beside this library, once a process. Never throws for a missing plug-in.
const CudaPlugin& cuda_plugin();

/// Whether the first preference may be this kernel on the tensor's device: the plug-in holds its machine code for that architecture,
/// and docs/gpu/ has a record of exactly that code; or LTXV_KERNELS pins it, which needs no record.
/// Shapes: x any, on a CUDA device.
bool cuda_variant_allowed(std::string_view op, std::string_view variant, const at::Tensor& x);

/// Whether the table holds machine code of the kernel for that architecture (major * 10 + minor) which has a record.
bool is_verified(const gpu::CudaKernelTable& table, std::string_view op, std::string_view variant, int32_t arch);

/// The current stream of the tensor's device, as launch structs want it.
void* cuda_stream(const at::Tensor& x);

/// Errors: DeviceError when a launch failed, with the kernel and CUDA's own words.
void check_launch(std::string_view op, int error);

}  // namespace ltxv::ops
