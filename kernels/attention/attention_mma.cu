#include "attention/attention_mma.h"
#include "cuda/device_context.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 2) attention_mma(const AttentionLaunch launch) {
  DeviceContext context;
  AttentionMma<Shape, DeviceContext>{context, launch}.run();
}

template <class Shape>
static int start(const AttentionLaunch& launch) {
  const cudaError_t error = cudaFuncSetAttribute(attention_mma<Shape>, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes);
  if (error != cudaSuccess) return error;
  const dim3 blocks(static_cast<unsigned>(ceil_div(launch.q_length, Shape::kBlockM)), static_cast<unsigned>(launch.heads),
                    static_cast<unsigned>(launch.batch));
  attention_mma<Shape><<<blocks, Shape::kThreads, Shape::kSharedBytes, static_cast<cudaStream_t>(launch.stream)>>>(launch);
  return cudaGetLastError();
}

int launch_attention_mma(const AttentionLaunch* launch) {
  if (launch->head_dim == 64) return start<MmaShape64>(*launch);
  if (launch->head_dim == 128) return start<MmaShape128>(*launch);
  return cudaErrorInvalidValue;
}

}  // namespace ltxv::ops::gpu
