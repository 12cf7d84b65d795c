#pragma once
// The two launches in front of the eight-bit attention. `Shape` is that of the attention behind them, so that each unit has kernels of its
// own name; not in an anonymous namespace, whose names depend on the folder and would change the unit's hash.
#include "attention_int8/quantise.h"
#include "cuda/device_context.cuh"

namespace ltxv::ops::gpu {

template <class Shape>
__global__ void __launch_bounds__(kInt8QuantiseThreads) int8_parts(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  Int8Parts<Shape::kHeadDim, DeviceContext>{context, launch, at}.run();
}

template <class Shape>
__global__ void __launch_bounds__(kInt8QuantiseThreads) int8_quantise(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  Int8Quantise<Shape::kHeadDim, DeviceContext>{context, launch, at}.run();
}

inline Int8Workspace int8_workspace(const AttentionLaunch& a) {
  return int8_workspace(static_cast<int64_t>(a.batch) * a.heads, a.head_dim, a.q_length, a.k_length);
}

/// `x` blocks for each head and batch.
inline dim3 int8_grid(const AttentionLaunch& a, int64_t x) {
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch));
}

/// Fills the workspace with codes and scales.
template <class Shape>
void make_int8_codes(const AttentionInt8Launch& launch, const Int8Workspace& at) {
  constexpr int32_t kHeadDim = Shape::kHeadDim;
  const auto stream = static_cast<cudaStream_t>(launch.stream);
  const int64_t rows = at.query_rows > at.key_rows ? at.query_rows : at.key_rows;
  int8_parts<Shape><<<int8_grid(launch.attention, kInt8Parts), kInt8QuantiseThreads, Int8Parts<kHeadDim, DeviceContext>::kSharedBytes, stream>>>(launch, at);
  int8_quantise<Shape>
      <<<int8_grid(launch.attention, rows / kInt8KeyTile), kInt8QuantiseThreads, Int8Quantise<kHeadDim, DeviceContext>::kSharedBytes, stream>>>(launch, at);
}

}  // namespace ltxv::ops::gpu
