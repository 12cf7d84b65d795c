#pragma once
// What values a stored tensor holds, without keeping it in memory.
#include <cstdint>

#include "base/run_context.h"
#include "weights/tensor_source.h"

namespace ltxv {

struct ValueScan {
  int64_t count = 0;        ///< elements looked at; 0 for integers
  int64_t nan_count = 0, inf_count = 0;
  int64_t beyond_fp16 = 0;  ///< finite, but above 65504 in size
  bool beyond_fp32 = false; ///< finite in f64, but not in f32
  double largest = 0;       ///< size of the largest finite value

  bool all_zero() const { return count > 0 && largest == 0 && nan_count == 0 && inf_count == 0; }
};

/// Reads every element once, piece by piece; pages of a mapped file are given back behind it, so that memory stays flat. Values are
/// those of the file: scales that lie in tensors of their own are not applied. Uses the caller's compute threads.
/// Errors: Cancelled.
ValueScan scan_values(const TensorEntry& entry, const RunContext& run);

/// How even the columns of a matrix are: deviation over mean of their norms. About 1 / sqrt(2 * rows) for random rows, and for weights
/// that were turned by a Hadamard matrix, which spreads every input over all columns; several times that for weights as they were trained.
/// Shapes: [R,C] of a floating or narrow type.   Errors: InvalidArgument for anything else.
double column_unevenness(const TensorEntry& entry);

}  // namespace ltxv
