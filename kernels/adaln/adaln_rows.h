#pragma once
// What the adaptive-norm ops share: how tensors become the arguments of row kernels.
#include "adaln/adaln.h"
#include "cpu_rows.h"
#include "cuda_plugin.h"
#include "quant_linear/quant_types.h"

namespace ltxv::ops {

inline bool fits_rows(const at::Tensor& x) {
  return x.is_cpu() && x.is_contiguous() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

/// [U,D] -> broadcastable against [B,N,D]
inline at::Tensor per_token(const at::Tensor& table, const TokenRows& rows) {
  return rows.index.defined() ? table.index_select(0, rows.index) : table[0];
}

inline cpu::NormModulateRow cpu_norm_rows(const at::Tensor& x, void* out, const at::Tensor& scale, const at::Tensor& shift,
                                          const TokenRows& rows, double eps) {
  return {cpu_row_type(x), x.const_data_ptr(), out, scale.const_data_ptr<float>(), shift.const_data_ptr<float>(), scale.stride(0),
          rows.index.defined() ? rows.index.const_data_ptr<int64_t>() : nullptr, x.size(1), x.size(2), static_cast<float>(eps)};
}

// What every CUDA row kernel asks of the rows and of a table; gates, scales and shifts of one launch share a stride.
inline bool fits_cuda_rows(const at::Tensor& x) {
  return is_cuda_float(x) && x.is_contiguous() && x.numel() > 0 && x.size(2) % 8 == 0 && x.size(2) <= 8192 &&
         x.size(0) * x.size(1) <= INT32_MAX && is_aligned(x);
}
inline bool fits_cuda_table(const at::Tensor& table, const at::Tensor& x, const TokenRows& rows) {
  return table.device() == x.device() && table.stride(0) % 4 == 0 && is_aligned(table) &&
         (!rows.index.defined() || (rows.index.device() == x.device() && rows.index.scalar_type() == at::kLong));
}
inline gpu::NormModulateLaunch cuda_rows(const at::Tensor& x, const at::Tensor& table, const TokenRows& rows) {
  return {.type = cuda_element(x), .out_type = cuda_element(x), .table_stride = table.defined() ? table.stride(0) : 0,
          .index = rows.index.defined() ? rows.index.const_data_ptr<int64_t>() : nullptr,
          .rows = static_cast<int32_t>(x.size(0) * x.size(1)), .tokens = static_cast<int32_t>(x.size(1)),
          .width = static_cast<int32_t>(x.size(2))};
}
inline bool cuda_norm_modulate_allowed(std::string_view op, const at::Tensor& x) {
  return cuda_variant_allowed(op, "cuda", x.device()) && cuda_plugin().table->norm_modulate;
}

/// Errors: InvalidArgument, a table of another shape or dtype than f32 [U,D].
void check_table(const char* op, const at::Tensor& x, const at::Tensor& table, const TokenRows& rows);

}  // namespace ltxv::ops
