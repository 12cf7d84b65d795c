#include "cuda/device_context.cuh"
#include "cuda/units.h"
#include "qk_norm_rope/qk_norm_rope_rows.h"

namespace ltxv::ops::gpu {

template <Element kType, int32_t kThreads, int32_t kEights>
__global__ void __launch_bounds__(kThreads) qk_norm_rope(const QkNormRopeLaunch launch) {
  DeviceContext context;
  QkNormRope<kType, kThreads, kEights, DeviceContext>{context, launch}.run();
}

template <Element kType>
static int start(const QkNormRopeLaunch& launch) {
  return with_row_plan(launch.width, [&]<int32_t kThreads, int32_t kEights>() -> int {
    const dim3 blocks(static_cast<unsigned>(launch.rows), static_cast<unsigned>(launch.count));
    qk_norm_rope<kType, kThreads, kEights><<<blocks, kThreads, kRowSharedBytes, static_cast<cudaStream_t>(launch.stream)>>>(launch);
    return cudaGetLastError();
  });
}

int launch_qk_norm_rope(const QkNormRopeLaunch* launch) {
  return launch->type == Element::bf16 ? start<Element::bf16>(*launch) : start<Element::f32>(*launch);
}

}  // namespace ltxv::ops::gpu
