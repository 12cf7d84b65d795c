#include "adaln/adaln.h"

#include <ATen/Parallel.h>

#include "cpu_rows.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

// Rows a thread takes at least: below about 32 KiB of elements waking a second thread costs more than it saves.
int64_t grain(int64_t width) { return std::max<int64_t>(1, 32768 / width); }

bool fits_rows(const at::Tensor& x) {
  return x.is_cpu() && x.is_contiguous() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

cpu::RowType row_type(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat ? cpu::RowType::f32 : cpu::RowType::bf16;
}

// [U,D] -> broadcastable against [B,N,D]
at::Tensor per_token(const at::Tensor& table, const TokenRows& rows) {
  return rows.index.defined() ? table.index_select(0, rows.index) : table[0];
}

struct ModulateArgs {
  const at::Tensor &x, &scale, &shift;
  const TokenRows& rows;
  double eps;
};

at::Tensor modulate_reference(const ModulateArgs& a) {
  // f32: the sum of D = 2048..4096 squares does not fit bf16's eight significant bits.
  const auto x = a.x.to(at::kFloat);
  const auto y = x * at::rsqrt(x.pow(2).mean(-1, /*keepdim=*/true) + a.eps);
  return (y * (per_token(a.scale, a.rows) + 1.0) + per_token(a.shift, a.rows)).to(a.x.scalar_type());
}

template <void (*kRun)(const cpu::NormModulateRow&, int64_t, int64_t)>
at::Tensor modulate_rows(const ModulateArgs& a) {
  auto out = at::empty_like(a.x);
  const int64_t width = a.x.size(2);
  const cpu::NormModulateRow args{row_type(a.x), a.x.const_data_ptr(), out.mutable_data_ptr(),
                                  a.scale.const_data_ptr<float>(), a.shift.const_data_ptr<float>(), a.scale.stride(0),
                                  a.rows.index.defined() ? a.rows.index.const_data_ptr<int64_t>() : nullptr, a.x.size(1), width,
                                  static_cast<float>(a.eps)};
  at::parallel_for(0, a.x.size(0) * a.x.size(1), grain(width), [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return out;
}

bool modulate_fits(const ModulateArgs& a) { return fits_rows(a.x) && a.scale.stride(0) == a.shift.stride(0); }
bool modulate_avx512(const ModulateArgs& a) { return cpu_features().avx512 && modulate_fits(a); }
bool modulate_avx2(const ModulateArgs& a) { return cpu_features().avx2 && modulate_fits(a); }
bool modulate_always(const ModulateArgs&) { return true; }

constexpr Variant<ModulateArgs, at::Tensor> kModulate[] = {
    {"avx512", modulate_avx512, modulate_rows<cpu::avx512::norm_modulate>},
    {"avx2", modulate_avx2, modulate_rows<cpu::avx2::norm_modulate>},
    {"reference", modulate_always, modulate_reference}};

struct GateArgs {
  at::Tensor& x;
  const at::Tensor &y, &gate;
  const TokenRows& rows;
};

bool gate_reference(const GateArgs& a) {
  if (!a.gate.defined()) {
    a.x.add_(a.y);
  } else {
    a.x.copy_(a.x.to(at::kFloat) + a.y.to(at::kFloat) * per_token(a.gate, a.rows));
  }
  return true;
}

template <void (*kRun)(const cpu::AddGatedRow&, int64_t, int64_t)>
bool gate_rows(const GateArgs& a) {
  const int64_t width = a.x.size(2);
  const cpu::AddGatedRow args{row_type(a.x), a.x.mutable_data_ptr(), a.y.const_data_ptr(),
                              a.gate.defined() ? a.gate.const_data_ptr<float>() : nullptr,
                              a.gate.defined() ? a.gate.stride(0) : 0,
                              a.rows.index.defined() ? a.rows.index.const_data_ptr<int64_t>() : nullptr, a.x.size(1), width};
  at::parallel_for(0, a.x.size(0) * a.x.size(1), grain(width), [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return true;
}

bool gate_fits(const GateArgs& a) { return fits_rows(a.x) && a.y.is_contiguous(); }
bool gate_avx512(const GateArgs& a) { return cpu_features().avx512 && gate_fits(a); }
bool gate_avx2(const GateArgs& a) { return cpu_features().avx2 && gate_fits(a); }
bool gate_always(const GateArgs&) { return true; }

constexpr Variant<GateArgs, bool> kGate[] = {{"avx512", gate_avx512, gate_rows<cpu::avx512::add_gated>},
                                             {"avx2", gate_avx2, gate_rows<cpu::avx2::add_gated>},
                                             {"reference", gate_always, gate_reference}};

void check_table(const char* op, const at::Tensor& x, const at::Tensor& table, const TokenRows& rows) {
  LTXV_CHECK(table.dim() == 2 && table.size(1) == x.size(2) && table.scalar_type() == at::kFloat && table.stride(1) == 1, op,
             ": table f32 [U,", x.size(2), "] expected, got ", table.sizes());
  LTXV_CHECK(rows.index.defined() ? rows.index.numel() == x.size(1) && rows.index.is_contiguous() : table.size(0) == 1, op,
             ": one table row a token expected, got ", table.size(0), " rows for ", x.size(1), " tokens");
}

}  // namespace

at::Tensor rms_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, const TokenRows& rows,
                             double eps) {
  LTXV_CHECK(x.dim() == 3, "rms_norm_modulate: x [B,N,D] expected, got ", x.sizes());
  check_table("rms_norm_modulate", x, scale, rows);
  check_table("rms_norm_modulate", x, shift, rows);
  const ModulateArgs args{x, scale, shift, rows, eps};
  return dispatch<ModulateArgs, at::Tensor>("rms_norm_modulate", kModulate, args);
}

void add_gated_(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const TokenRows& rows) {
  LTXV_CHECK(x.dim() == 3 && x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type(),
             "add_gated: x and y [B,N,D] of one dtype expected, got ", x.sizes(), " and ", y.sizes());
  if (gate.defined()) check_table("add_gated", x, gate, rows);
  const GateArgs args{x, y, gate, rows};
  dispatch<GateArgs, bool>("add_gated", kGate, args);
}

}  // namespace ltxv::ops
