#include "attention_int8/attention_body.h"
#include "attention_int8/quantise.h"
#include "cuda/device_context.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {

template <int32_t kHeadDim>
__global__ void __launch_bounds__(kInt8QuantiseThreads) int8_parts(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  Int8Parts<kHeadDim, DeviceContext>{context, launch, at}.run();
}

template <int32_t kHeadDim>
__global__ void __launch_bounds__(kInt8QuantiseThreads) int8_quantise(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  Int8Quantise<kHeadDim, DeviceContext>{context, launch, at}.run();
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 2) attention_int8(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  AttentionInt8<Shape, DeviceContext>{context, launch, at}.run();
}

template <class Shape>
static int start(const AttentionInt8Launch& launch) {
  constexpr int32_t kHeadDim = Shape::kHeadDim;
  const AttentionLaunch& a = launch.attention;
  const auto stream = static_cast<cudaStream_t>(launch.stream);
  const auto grid = [&](int64_t x) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch)); };
  const Int8Workspace at = int8_workspace(static_cast<int64_t>(a.batch) * a.heads, kHeadDim, a.q_length, a.k_length);
  const int64_t rows = at.query_rows > at.key_rows ? at.query_rows : at.key_rows;
  int8_parts<kHeadDim><<<grid(kInt8Parts), kInt8QuantiseThreads, Int8Parts<kHeadDim, DeviceContext>::kSharedBytes, stream>>>(launch, at);
  int8_quantise<kHeadDim><<<grid(rows / kInt8KeyTile), kInt8QuantiseThreads, Int8Quantise<kHeadDim, DeviceContext>::kSharedBytes, stream>>>(launch, at);
  attention_int8<Shape><<<grid(at.query_rows / Shape::kBlockM), Shape::kThreads, Shape::kSharedBytes, stream>>>(launch, at);
  return cudaGetLastError();
}

int launch_attention_int8(const AttentionInt8Launch* launch) {
  if (launch->attention.head_dim == 64) return start<Int8Shape64>(*launch);
  if (launch->attention.head_dim == 128) return start<Int8Shape128>(*launch);
  return cudaErrorInvalidValue;
}

}  // namespace ltxv::ops::gpu
