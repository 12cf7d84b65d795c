#include "adaln/norm_modulate_rows.h"
#include "cuda/device_context.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {

template <Element kType, Element kOutType, int32_t kThreads, int32_t kEights>
__global__ void __launch_bounds__(kThreads) norm_modulate(const NormModulateLaunch launch) {
  DeviceContext context;
  NormModulate<kType, kOutType, kThreads, kEights, DeviceContext>{context, launch}.run();
}

template <Element kType, Element kOutType>
static int start(const NormModulateLaunch& launch) {
  return with_row_plan(launch.width, [&]<int32_t kThreads, int32_t kEights>() -> int {
    norm_modulate<kType, kOutType, kThreads, kEights>
        <<<static_cast<unsigned>(launch.rows), kThreads, kRowSharedBytes, static_cast<cudaStream_t>(launch.stream)>>>(launch);
    return cudaGetLastError();
  });
}

int launch_norm_modulate(const NormModulateLaunch* launch) {
  const bool narrow = launch->out && launch->out_type == Element::e4m3;
  if (launch->type == Element::f32)
    return narrow ? start<Element::f32, Element::e4m3>(*launch) : start<Element::f32, Element::f32>(*launch);
  return narrow ? start<Element::bf16, Element::e4m3>(*launch) : start<Element::bf16, Element::bf16>(*launch);
}

}  // namespace ltxv::ops::gpu
