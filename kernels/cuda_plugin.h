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

/// Whether the first preference may be this kernel on a CUDA device: the plug-in holds its machine code for that architecture,
/// and docs/gpu/ has a record of exactly that code; or LTXV_KERNELS pins it, which needs no record.
bool cuda_variant_allowed(std::string_view op, std::string_view variant, at::Device device);

/// Whether the table holds machine code of the kernel for that architecture (major * 10 + minor) which has a record.
bool is_verified(const gpu::CudaKernelTable& table, std::string_view op, std::string_view variant, int32_t arch);

/// The compute capability of a CUDA device, major * 10 + minor; 0 where it is unknown.
int32_t cuda_arch(at::Device device);

/// f32 or bf16 on a CUDA device: what the kernels compute in.
bool is_cuda_float(const at::Tensor& x);
/// Whether the tensor's first element lies at a multiple of 16 bytes, as the kernels' wide loads need it.
bool is_aligned(const at::Tensor& x);
gpu::Element cuda_element(const at::Tensor& x);
/// A volume stored [B,T,H,W,C] on x's device, in x's dtype.
at::Tensor cuda_volume(const at::Tensor& x, int64_t b, int64_t c, int64_t t, int64_t h, int64_t w);

/// The current stream of the tensor's device, as launch structs want it.
void* cuda_stream(const at::Tensor& x);

/// Errors: DeviceError when a launch failed, with the kernel and CUDA's own words.
void check_launch(std::string_view op, int error);

/// Fills in the stream of x's device and launches there.   Errors: as check_launch.
template <class Launch>
void launch_on(const at::Tensor& x, std::string_view op, int (*launcher)(const Launch*), Launch launch) {
  const c10::DeviceGuard guard(x.device());
  launch.stream = cuda_stream(x);
  check_launch(op, launcher(&launch));
}

}  // namespace ltxv::ops
