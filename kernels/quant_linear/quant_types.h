#pragma once
// What the quantising ops share.
#include "cpu_rows.h"
#include "quant_linear/quant_linear.h"
#include "quant_linear/quant_rows.h"

namespace ltxv::ops {

inline at::ScalarType scalar_type(QuantType type) { return type == QuantType::int8 ? at::kChar : at::kFloat8_e4m3fn; }
inline double largest_code(QuantType type) { return type == QuantType::int8 ? 127 : 448; }

/// quantise_rows of f32 by ATen's operations.
QuantisedRows quantise_reference(const at::Tensor& x, QuantType type);
/// Room for the codes of rows of these sizes.
QuantisedRows empty_rows(at::IntArrayRef sizes, at::Device device, QuantType type);

inline cpu::CodedRows cpu_codes(QuantisedRows& rows, QuantType type) {
  return {type == QuantType::int8 ? cpu::Code::int8 : cpu::Code::e4m3, rows.codes.mutable_data_ptr(), rows.scales.mutable_data_ptr<float>()};
}
inline cpu::RowType cpu_row_type(const at::Tensor& x) { return x.scalar_type() == at::kFloat ? cpu::RowType::f32 : cpu::RowType::bf16; }

/// Rows a thread takes at least: below about 32 KiB of elements waking a second thread costs more than it saves.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, 32768 / width); }

}  // namespace ltxv::ops
