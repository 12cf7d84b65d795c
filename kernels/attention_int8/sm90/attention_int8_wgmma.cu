#include <cuda_runtime.h>

#include "attention/sm90/tensor_map.h"
#include "attention_int8/quantise.h"
#include "attention_int8/sm90/machine.cuh"
#include "cuda/device_context.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {
namespace sm90 {
namespace {

__global__ void __launch_bounds__(kInt8QuantiseThreads) int8_parts_sm90(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  Int8Parts<Int8Plan::kHeadDim, DeviceContext>{context, launch, at}.run();
}
__global__ void __launch_bounds__(kInt8QuantiseThreads) int8_quantise_sm90(const AttentionInt8Launch launch, const Int8Workspace at) {
  DeviceContext context;
  Int8Quantise<Int8Plan::kHeadDim, DeviceContext>{context, launch, at}.run();
}
__global__ void __launch_bounds__(Int8Plan::kThreads, 1)
    int8_attend(const __grid_constant__ TensorMaps maps, const __grid_constant__ Int8Problem problem) {
  extern __shared__ uint8_t shared[];
  Int8Machine machine(maps, shared, Int8Plan::kBarrierOffset);
  attend_int8(machine, problem);
}

// The driver's encoder without linking the driver: a machine without one loads this library too.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
  return error == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found) : nullptr;
}

cudaError_t encode(CUtensorMap& out, const TensorLayout& layout, int box_rows) {
  static const auto encode_tiled = encoder();
  if (encode_tiled == nullptr) return cudaErrorCallRequiresNewerDriver;
  if (!copyable(layout, reinterpret_cast<uintptr_t>(layout.data))) return cudaErrorInvalidValue;
  const TensorMap map = tensor_map(layout, box_rows);
  constexpr cuuint32_t kEveryElement[4] = {1, 1, 1, 1};
  const CUresult result = encode_tiled(&out, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(map.data), map.sizes, map.strides, map.box,
                                       kEveryElement, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace
}  // namespace sm90

int launch_attention_int8_wgmma(const AttentionInt8Launch* launch) {
  using namespace sm90;
  const AttentionLaunch& a = launch->attention;
  if (a.head_dim != Int8Plan::kHeadDim || a.k_length < 1) return cudaErrorInvalidValue;
  const auto stream = static_cast<cudaStream_t>(launch->stream);
  const int64_t pairs = static_cast<int64_t>(a.batch) * a.heads;
  const Int8Workspace at = int8_workspace(pairs, a.head_dim, a.q_length, a.k_length);
  char* const base = static_cast<char*>(launch->workspace);
  TensorMaps maps;
  const int64_t columns = int64_t{a.heads} * a.head_dim;
  const auto codes = int8_layouts(at, base, pairs);
  const cudaError_t encoded[] = {encode(maps.query, codes.query, Int8Plan::kQueryRows), encode(maps.key, codes.key, Int8Plan::kKeyRows),
                                 encode(maps.value, codes.value, Int8Plan::kHeadDim),
                                 encode(maps.output, {a.out, a.batch, a.q_length, columns, a.out_batch_stride, a.out_row_stride}, kGroupRows)};
  for (const cudaError_t error : encoded)
    if (error != cudaSuccess) return error;
  const cudaError_t error = cudaFuncSetAttribute(int8_attend, cudaFuncAttributeMaxDynamicSharedMemorySize, Int8Plan::kLaunchBytes);
  if (error != cudaSuccess) return error;
  const auto grid = [&](int64_t x) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(a.heads), static_cast<unsigned>(a.batch)); };
  const int64_t rows = at.query_rows > at.key_rows ? at.query_rows : at.key_rows;
  int8_parts_sm90<<<grid(kInt8Parts), kInt8QuantiseThreads, Int8Parts<128, DeviceContext>::kSharedBytes, stream>>>(*launch, at);
  int8_quantise_sm90<<<grid(rows / kInt8KeyTile), kInt8QuantiseThreads, Int8Quantise<128, DeviceContext>::kSharedBytes, stream>>>(*launch, at);
  const auto floats = [&](int64_t offset) { return reinterpret_cast<const float*>(base + offset); };
  const Int8Problem problem{a.q_length, a.k_length, a.heads, at.query_rows, at.key_rows, floats(at.q_scales), floats(at.k_scales), floats(at.v_scales)};
  int8_attend<<<grid(at.query_rows / Int8Plan::kQueryRows), Int8Plan::kThreads, Int8Plan::kLaunchBytes, stream>>>(maps, problem);
  return cudaGetLastError();
}

}  // namespace ltxv::ops::gpu
