#pragma once
// How tensors become the arguments of the row kernels of a CPU.
#include <algorithm>

#include "base/tensor.h"
#include "cpu_rows.h"

namespace ltxv::ops {

/// f32 or bf16 rows one after the other in host memory.
inline bool fits_rows(const at::Tensor& x) {
  return x.is_cpu() && x.is_contiguous() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}
inline cpu::RowType cpu_row_type(const at::Tensor& x) { return x.scalar_type() == at::kFloat ? cpu::RowType::f32 : cpu::RowType::bf16; }

/// Rows a thread takes at least: below about 32 KiB of elements waking a second thread costs more than it saves.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, 32768 / width); }

}  // namespace ltxv::ops
