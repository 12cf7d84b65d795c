#include "cuda/device_context.cuh"
#include "cuda/units.h"
#include "guided_step/guided_step_rows.h"

namespace ltxv::ops::gpu {

template <Element kType>
__global__ void __launch_bounds__(kGuidedStepThreads) guided_moments(const GuidedStepLaunch launch, const int32_t blocks) {
  DeviceContext context;
  GuidedMoments<kType, DeviceContext>{context, launch, blocks}.run();
}

template <Element kType>
__global__ void __launch_bounds__(kGuidedStepThreads) guided_step(const GuidedStepLaunch launch, const int32_t moment_blocks) {
  DeviceContext context;
  GuidedStep<kType, DeviceContext>{context, launch, moment_blocks}.run();
}

template <Element kType>
static int start(const GuidedStepLaunch& launch) {
  const auto stream = static_cast<cudaStream_t>(launch.stream);
  const int64_t blocks = ceil_div(launch.token_count * launch.width, kGuidedStepThreads);
  int32_t moment_blocks = 0;
  if (needs_moments(launch)) {
    moment_blocks = static_cast<int32_t>(blocks < kGuidedStepMaxBlocks ? blocks : kGuidedStepMaxBlocks);
    guided_moments<kType><<<static_cast<unsigned>(moment_blocks), kGuidedStepThreads, kGuidedStepShared, stream>>>(launch, moment_blocks);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  guided_step<kType><<<static_cast<unsigned>(blocks), kGuidedStepThreads, kMomentCount * 8, stream>>>(launch, moment_blocks);
  return cudaGetLastError();
}

int launch_guided_step(const GuidedStepLaunch* launch) {
  return launch->type == Element::bf16 ? start<Element::bf16>(*launch) : start<Element::f32>(*launch);
}

}  // namespace ltxv::ops::gpu
