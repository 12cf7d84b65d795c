#include "attention/sm90/machine.cuh"

namespace ltxv::ops::gpu::sm90 {
namespace {

template <class Plan>
__global__ void __launch_bounds__(Plan::kThreads, 1)
    attention_kernel(const __grid_constant__ TensorMaps maps, const __grid_constant__ Problem problem) {
  extern __shared__ uint8_t shared[];
  DeviceMachine machine(maps, shared, Plan::kBarrierOffset);
  attend<Plan>(machine, problem);
}

template __global__ void attention_kernel<Plan<64>>(const __grid_constant__ TensorMaps, const __grid_constant__ Problem);
template __global__ void attention_kernel<Plan<128>>(const __grid_constant__ TensorMaps, const __grid_constant__ Problem);

}  // namespace
}  // namespace ltxv::ops::gpu::sm90
