#include <cuda_runtime.h>

#include "attention/sm90/encode.cuh"
#include "attention/sm90/machine.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {
namespace sm90 {

// Maps in the kernel's parameters: the copy engine reads them there, and a captured graph keeps them.
template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads, 1)
    attention_wgmma(const __grid_constant__ TensorMaps maps, const __grid_constant__ Problem problem) {
  extern __shared__ uint8_t shared[];
  DeviceMachine machine(maps, shared, Plan::kBarrierOffset);
  attend<Plan>(machine, problem);
}

template <class Plan>
static cudaError_t start(const AttentionLaunch& a) {
  const int64_t columns = int64_t{a.heads} * a.head_dim;
  TensorMaps maps;
  // Without keys nothing is loaded, but the maps must still be valid: any memory will do.
  const bool any_keys = a.k_length > 0;
  const int64_t keys = any_keys ? a.k_length : 1;
  const cudaError_t encoded[] = {
      encode(maps.query, {a.q, a.batch, a.q_length, columns, a.q_batch_stride, a.q_row_stride}, Plan::kQueryRows),
      encode(maps.key, {any_keys ? a.k : a.q, a.batch, keys, columns, a.k_batch_stride, a.k_row_stride},
             Plan::kKeyRows),
      encode(maps.value, {any_keys ? a.v : a.q, a.batch, keys, columns, a.v_batch_stride, a.v_row_stride},
             Plan::kKeyRows),
      encode(maps.output, {a.out, a.batch, a.q_length, columns, a.out_batch_stride, a.out_row_stride}, kGroupRows)};
  for (const cudaError_t error : encoded)
    if (error != cudaSuccess) return error;
  const cudaError_t error =
      cudaFuncSetAttribute(attention_wgmma<Plan>, cudaFuncAttributeMaxDynamicSharedMemorySize, Plan::kLaunchBytes);
  if (error != cudaSuccess) return error;
  const dim3 blocks(static_cast<unsigned>(ceil_div(a.q_length, Plan::kQueryRows)), static_cast<unsigned>(a.heads),
                    static_cast<unsigned>(a.batch));
  const Problem problem{a.q_length, a.k_length, a.k_lengths, a.scale * kLog2E};
  attention_wgmma<Plan>
      <<<blocks, Plan::kThreads, Plan::kLaunchBytes, static_cast<cudaStream_t>(a.stream)>>>(maps, problem);
  return cudaGetLastError();
}

}  // namespace sm90

int launch_attention_wgmma(const AttentionLaunch* launch) {
  if (!(launch->scale > 0)) return cudaErrorInvalidValue;  // the running maximum is one of unscaled scores
  if (launch->head_dim == 64) return sm90::start<sm90::Plan<64>>(*launch);
  if (launch->head_dim == 128) return sm90::start<sm90::Plan<128>>(*launch);
  return cudaErrorInvalidValue;
}

}  // namespace ltxv::ops::gpu
