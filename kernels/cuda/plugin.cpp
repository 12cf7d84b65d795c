// The plug-in's table. Units that this build lacks (a compiler without their architecture) stay nullptr.
#include <cuda_runtime_api.h>

#include <cstring>

#include "cuda/units.h"

namespace ltxv::ops::gpu {
namespace {

int device_count(int* count) { return cudaGetDeviceCount(count); }

int device(int index, CudaDevice* out) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, index);
  if (error != cudaSuccess) return error;
  *out = {properties.major, properties.minor, properties.multiProcessorCount,
          static_cast<int32_t>(properties.sharedMemPerBlockOptin), static_cast<int64_t>(properties.totalGlobalMem), {}};
  std::memcpy(out->name, properties.name, sizeof out->name - 1);  // the zero behind it stands
  return cudaSuccess;
}

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

// The last row only keeps the array from being empty.
constexpr CudaKernelInfo kKernels[] = {
#include <kernel_list.inc>  // generated: third_party/cuda_list.cmake
    {}};

constexpr CudaKernelTable kTable = {
    .version = kCudaPluginVersion,
    .struct_size = sizeof(CudaKernelTable),
    .device_count = device_count,
    .device = device,
    .error_text = error_text,
#ifdef LTXV_CUDA_UNIT_attention_mma
    .attention_mma = launch_attention_mma,
#endif
#ifdef LTXV_CUDA_UNIT_attention_wgmma
    .attention_wgmma = launch_attention_wgmma,
#endif
#ifdef LTXV_CUDA_UNIT_qk_norm_rope
    .qk_norm_rope = launch_qk_norm_rope,
#endif
#ifdef LTXV_CUDA_UNIT_norm_modulate
    .norm_modulate = launch_norm_modulate,
#endif
#ifdef LTXV_CUDA_UNIT_vae_norm
    .vae_norm = launch_vae_norm,
#endif
#ifdef LTXV_CUDA_UNIT_depth_to_space
    .depth_to_space = launch_depth_to_space,
#endif
#ifdef LTXV_CUDA_UNIT_add_bias
    .add_bias = launch_add_bias,
#endif
#ifdef LTXV_CUDA_UNIT_guided_step
    .guided_step = launch_guided_step,
#endif
#ifdef LTXV_CUDA_UNIT_quantise_rows
    .quantise_rows = launch_quantise_rows,
#endif
#ifdef LTXV_CUDA_UNIT_attention_int8
    .attention_int8 = launch_attention_int8,
#endif
#ifdef LTXV_CUDA_UNIT_attention_int8_wgmma
    .attention_int8_wgmma = launch_attention_int8_wgmma,
#endif
    .kernels = kKernels,
    .kernel_count = static_cast<int32_t>(sizeof kKernels / sizeof kKernels[0]) - 1,
};

}  // namespace
}  // namespace ltxv::ops::gpu

extern "C" __attribute__((visibility("default"))) const ltxv::ops::gpu::CudaKernelTable* ltxv_cuda_plugin(uint32_t version) {
  return version == ltxv::ops::gpu::kCudaPluginVersion ? &ltxv::ops::gpu::kTable : nullptr;
}
