#include "cuda/device_context.cuh"
#include "cuda/units.h"
#include "vae_norm/depth_to_space_rows.h"

namespace ltxv::ops::gpu {

template <Element kType, int32_t kSubpositions>
__global__ void __launch_bounds__(kDepthToSpaceThreads) depth_to_space(const DepthToSpaceLaunch launch, const int32_t per_block) {
  DeviceContext context;
  DepthToSpace<kType, kSubpositions, DeviceContext>{context, launch, per_block}.run();
}

template <Element kType, int32_t kSubpositions>
static int start(const DepthToSpaceLaunch& launch) {
  const int32_t per_block = positions_per_block(launch.channels, launch.residual_channels, kSubpositions);
  const uint32_t shared = depth_to_space_shared(launch, kSubpositions, per_block);
  const cudaError_t error =
      cudaFuncSetAttribute(depth_to_space<kType, kSubpositions>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  if (error != cudaSuccess) return error;
  const int64_t positions = static_cast<int64_t>(launch.batch) * launch.frames * launch.height * launch.width;
  depth_to_space<kType, kSubpositions><<<static_cast<unsigned>(ceil_div(positions, per_block)), kDepthToSpaceThreads, shared,
                                         static_cast<cudaStream_t>(launch.stream)>>>(launch, per_block);
  return cudaGetLastError();
}

template <Element kType>
static int start(const DepthToSpaceLaunch& launch) {
  switch (launch.st * launch.sh * launch.sw) {
    case 1: return start<kType, 1>(launch);
    case 2: return start<kType, 2>(launch);
    case 4: return start<kType, 4>(launch);
    case 8: return start<kType, 8>(launch);
  }
  return cudaErrorInvalidValue;
}

int launch_depth_to_space(const DepthToSpaceLaunch* launch) {
  return launch->type == Element::bf16 ? start<Element::bf16>(*launch) : start<Element::f32>(*launch);
}

}  // namespace ltxv::ops::gpu
