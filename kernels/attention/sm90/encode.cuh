#pragma once
// Tensor maps as the driver wants them.
#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include "attention/sm90/tensor_map.h"

namespace ltxv::ops::gpu::sm90 {

/// The driver's encoder without linking the driver: a machine without one loads this library too. nullptr without it.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
  return error == cudaSuccess && result == cudaDriverEntryPointSuccess
             ? reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found)
             : nullptr;
}

/// A map of boxes of `box_rows` rows of one chunk, 128-byte swizzle, zeros outside.
/// Errors: cudaErrorInvalidValue for what is not copyable().
inline cudaError_t encode(CUtensorMap& out, const TensorLayout& layout, int box_rows) {
  static const auto encode_tiled = tensor_map_encoder();
  if (encode_tiled == nullptr) return cudaErrorCallRequiresNewerDriver;
  if (!copyable(layout, reinterpret_cast<uintptr_t>(layout.data))) return cudaErrorInvalidValue;
  const TensorMap map = tensor_map(layout, box_rows);
  constexpr cuuint32_t kEveryElement[4] = {1, 1, 1, 1};
  const CUresult result = encode_tiled(&out, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void*>(map.data),
                                       map.sizes, map.strides, map.box, kEveryElement, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                       CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace ltxv::ops::gpu::sm90
