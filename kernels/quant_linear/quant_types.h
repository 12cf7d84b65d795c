#pragma once
// What the quantising ops share.
#include "cpu_row_args.h"
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
}  // namespace ltxv::ops
