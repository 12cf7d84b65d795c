#include "attention_int8/attention_body.h"
#include "attention_int8/codes.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 2) attention_int8(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  AttentionInt8<Shape, DeviceContext>{context, launch, at}.run();
}

template <class Shape>
static int start(const AttentionInt8Launch& launch) {
  const Int8Workspace at = int8_workspace(launch.attention);
  make_int8_codes<Shape>(launch, at);
  attention_int8<Shape><<<int8_grid(launch.attention, at.query_rows / Shape::kBlockM), Shape::kThreads, Shape::kSharedBytes,
                          static_cast<cudaStream_t>(launch.stream)>>>(launch, at);
  return cudaGetLastError();
}

int launch_attention_int8(const AttentionInt8Launch* launch) {
  if (launch->attention.head_dim == 64) return start<Int8Shape64>(*launch);
  if (launch->attention.head_dim == 128) return start<Int8Shape128>(*launch);
  return cudaErrorInvalidValue;
}

}  // namespace ltxv::ops::gpu
