#include "conv3d/add_bias_rows.h"
#include "cuda/device_context.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {

template <Element kType>
__global__ void __launch_bounds__(kAddBiasThreads) add_bias(const AddBiasLaunch launch) {
  DeviceContext context;
  AddBias<kType, DeviceContext>{context, launch}.run();
}

template <Element kType>
static int start(const AddBiasLaunch& launch) {
  const int64_t blocks = ceil_div(launch.count, kAddBiasThreads * 8);
  add_bias<kType><<<static_cast<unsigned>(blocks), kAddBiasThreads, 0, static_cast<cudaStream_t>(launch.stream)>>>(launch);
  return cudaGetLastError();
}

int launch_add_bias(const AddBiasLaunch* launch) {
  return launch->type == Element::bf16 ? start<Element::bf16>(*launch) : start<Element::f32>(*launch);
}

}  // namespace ltxv::ops::gpu
