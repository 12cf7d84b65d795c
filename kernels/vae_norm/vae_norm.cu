#include "cuda/device_context.cuh"
#include "cuda/units.h"
#include "vae_norm/vae_norm_rows.h"

namespace ltxv::ops::gpu {

template <Element kType, int32_t kLanes, int32_t kEights>
__global__ void __launch_bounds__(kVaeNormThreads) vae_norm(const VaeNormLaunch launch) {
  DeviceContext context;
  VaeNorm<kType, kLanes, kEights, DeviceContext>{context, launch}.run();
}

template <Element kType, int32_t kLanes, int32_t kEights>
static int start(const VaeNormLaunch& launch) {
  // Frames in y: no 64-bit division a thread.
  const dim3 blocks(static_cast<unsigned>(ceil_div(launch.positions, kVaeNormThreads / kLanes)),
                    static_cast<unsigned>(launch.batch * launch.frames));
  vae_norm<kType, kLanes, kEights><<<blocks, kVaeNormThreads, 0, static_cast<cudaStream_t>(launch.stream)>>>(launch);
  return cudaGetLastError();
}

template <Element kType>
static int start(const VaeNormLaunch& launch) {
  const VaeNormPlan plan = vae_norm_plan(launch.channels);
  if (plan.lanes == 16) return start<kType, 16, 1>(launch);
  if (plan.eights == 1) return start<kType, 32, 1>(launch);
  if (plan.eights == 2) return start<kType, 32, 2>(launch);
  if (plan.eights == 4) return start<kType, 32, 4>(launch);
  return start<kType, 32, 8>(launch);
}

int launch_vae_norm(const VaeNormLaunch* launch) {
  return launch->type == Element::bf16 ? start<Element::bf16>(*launch) : start<Element::f32>(*launch);
}

}  // namespace ltxv::ops::gpu
