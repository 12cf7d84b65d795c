#pragma once
// A stored tensor written in another element type, piece by piece.
#include <memory>

#include "base/tensor.h"
#include "weights/tensor_source.h"
#include "weights/tensor_writer.h"

namespace ltxv {

/// Gives the tensor's bytes in `type`: as they are where it is stored so and has no factors, else through f32. Rows are handled a few
/// megabytes at a time; pages of a mapped file are given back behind them. Types: F32, F16, BF16, F8_E4M3, Q8_0, or the stored one.
/// `factors`: f32, one for all or one a row (first axis), multiplied in before rounding; undefined: none.
/// Errors: NumericError naming the tensor when a value is not finite, or not in the new type; InvalidArgument for another type.
/// Source of Q8_0: ggml quantize_row_q8_0_ref: scale = largest / 127 rounded to f16, codes rounded half away from zero.
void write_as(const TensorEntry& entry, const at::Tensor& factors, StoredType type, const ByteSink& sink);

}  // namespace ltxv
