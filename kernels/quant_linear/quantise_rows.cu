#include "quant_linear/quantise_rows.h"
#include "cuda/device_context.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {

template <Element kType, int32_t kThreads, int32_t kEights>
__global__ void __launch_bounds__(kThreads) quantise_rows(const QuantiseRowsLaunch launch) {
  DeviceContext context;
  QuantiseRows<kType, kThreads, kEights, DeviceContext>{context, launch}.run();
}

template <Element kType>
static int start(const QuantiseRowsLaunch& launch) {
  return with_quant_plan(launch.width, [&]<int32_t kThreads, int32_t kEights>() -> int {
    quantise_rows<kType, kThreads, kEights>
        <<<static_cast<unsigned>(launch.rows), kThreads, kRowSharedBytes, static_cast<cudaStream_t>(launch.stream)>>>(launch);
    return cudaGetLastError();
  });
}

int launch_quantise_rows(const QuantiseRowsLaunch* launch) {
  return launch->type == Element::f32 ? start<Element::f32>(*launch) : start<Element::bf16>(*launch);
}

}  // namespace ltxv::ops::gpu
