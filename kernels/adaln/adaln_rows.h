#pragma once
// What the adaptive-norm ops share: how tensors become the arguments of row kernels.
#include <initializer_list>

#include "adaln/adaln.h"
#include "cpu_row_args.h"
#include "cuda_plugin.h"

namespace ltxv::ops {

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

/// The norm with its modulation in f32: the sum of D = 2048..4096 squares does not fit bf16's eight significant bits.
inline at::Tensor modulated_norm(const at::Tensor& rows_of_any, const at::Tensor& scale, const at::Tensor& shift, const TokenRows& rows, double eps) {
  const auto x = rows_of_any.to(at::kFloat);
  const auto y = x * at::rsqrt(x.pow(2).mean(-1, /*keepdim=*/true) + eps);
  return y * (per_token(scale, rows) + 1.0) + per_token(shift, rows);
}

/// What the fused CUDA kernel asks of gate, residual and norm together; y may be undefined.
inline bool fits_cuda_gated(const at::Tensor& x, const at::Tensor& y, std::initializer_list<const at::Tensor*> tables, int64_t table_stride,
                            const TokenRows& rows) {
  if (!fits_cuda_rows(x)) return false;
  if (y.defined() && (y.device() != x.device() || !y.is_contiguous() || !is_aligned(y))) return false;
  for (const auto* table : tables)
    if (table->defined() && (!fits_cuda_table(*table, x, rows) || table->stride(0) != table_stride)) return false;
  return true;
}
/// Its launch, less what becomes of the normed rows.
inline gpu::NormModulateLaunch cuda_gated(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const at::Tensor& scale,
                                          const at::Tensor& shift, const TokenRows& rows, double eps) {
  gpu::NormModulateLaunch launch = cuda_rows(x, scale, rows);
  launch.x = x.mutable_data_ptr();
  launch.update = y.defined() ? y.const_data_ptr() : nullptr;
  launch.gate = y.defined() && gate.defined() ? gate.const_data_ptr<float>() : nullptr;
  launch.scale = scale.const_data_ptr<float>(), launch.shift = shift.const_data_ptr<float>();
  launch.eps = static_cast<float>(eps);
  return launch;
}

/// Errors: InvalidArgument, a table of another shape or dtype than f32 [U,D].
void check_table(const char* op, const at::Tensor& x, const at::Tensor& table, const TokenRows& rows);

}  // namespace ltxv::ops
