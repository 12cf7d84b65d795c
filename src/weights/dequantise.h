#pragma once
// Narrow codes to f32. Torch-free and single-threaded: callers part the work.
#include <cstddef>
#include <cstdint>

#include "weights/tensor_source.h"

namespace ltxv {

/// The block types and both kinds of fp8: types nobody computes in.
bool is_narrow_type(StoredType type);
/// bf16 or f16.
bool is_half_type(StoredType type);

/// `count` elements, a multiple of the type's block, from `from` (any alignment) to `to`.
/// Also reads bf16, f16 and f32. Errors: InternalError for any other type that is not narrow.
/// Source: the formats of ggml (ggml-common.h, block_q4_0 … block_q6_K), the OCP 8-bit floating point specification.
void dequantise(StoredType type, const std::byte* from, int64_t count, float* to);

/// Whether a scale of a block type, anywhere in the `byte_count` bytes, is NaN or Inf.
bool has_bad_scale(StoredType type, const std::byte* from, uint64_t byte_count);

}  // namespace ltxv
