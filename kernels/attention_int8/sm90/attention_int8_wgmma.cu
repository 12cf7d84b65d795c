#include "attention/sm90/encode.cuh"
#include "attention_int8/codes.cuh"
#include "attention_int8/sm90/machine.cuh"
#include "cuda/units.h"

namespace ltxv::ops::gpu {
namespace sm90 {

__global__ void __launch_bounds__(Int8Plan::kThreads, 1)
    attention_int8_wgmma(const __grid_constant__ TensorMaps maps, const __grid_constant__ Int8Problem problem) {
  extern __shared__ uint8_t shared[];
  Int8Machine machine(maps, shared, Int8Plan::kBarrierOffset);
  attend_int8(machine, problem);
}

}  // namespace sm90

int launch_attention_int8_wgmma(const AttentionInt8Launch* launch) {
  using namespace sm90;
  const AttentionLaunch& a = launch->attention;
  if (a.head_dim != Int8Plan::kHeadDim || a.k_length < 1) return cudaErrorInvalidValue;
  const Int8Workspace at = int8_workspace(a);
  char* const base = static_cast<char*>(launch->workspace);
  TensorMaps maps;
  const auto codes = int8_layouts(at, base, static_cast<int64_t>(a.batch) * a.heads);
  const cudaError_t encoded[] = {
      encode(maps.query, codes.query, Int8Plan::kQueryRows), encode(maps.key, codes.key, Int8Plan::kKeyRows),
      encode(maps.value, codes.value, Int8Plan::kHeadDim),
      encode(maps.output, {a.out, a.batch, a.q_length, int64_t{a.heads} * a.head_dim, a.out_batch_stride, a.out_row_stride}, kGroupRows)};
  for (const cudaError_t error : encoded)
    if (error != cudaSuccess) return error;
  const cudaError_t error = cudaFuncSetAttribute(attention_int8_wgmma, cudaFuncAttributeMaxDynamicSharedMemorySize, Int8Plan::kLaunchBytes);
  if (error != cudaSuccess) return error;
  make_int8_codes<Int8Plan>(*launch, at);
  const auto floats = [&](int64_t offset) { return reinterpret_cast<const float*>(base + offset); };
  const Int8Problem problem{a.q_length, a.k_length, a.heads, at.query_rows, at.key_rows, floats(at.q_scales), floats(at.k_scales), floats(at.v_scales)};
  attention_int8_wgmma<<<int8_grid(a, at.query_rows / Int8Plan::kQueryRows), Int8Plan::kThreads, Int8Plan::kLaunchBytes,
                         static_cast<cudaStream_t>(launch->stream)>>>(maps, problem);
  return cudaGetLastError();
}

}  // namespace ltxv::ops::gpu
