#include "adaln/adaln.h"

#include <ATen/Parallel.h>

#include "adaln/adaln_rows.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct ModulateArgs {
  const at::Tensor &x, &scale, &shift;
  const TokenRows& rows;
  double eps;
};

at::Tensor modulate_reference(const ModulateArgs& a) {
  return modulated_norm(a.x, a.scale, a.shift, a.rows, a.eps).to(a.x.scalar_type());
}

template <void (*kRun)(const cpu::NormModulateRow&, int64_t, int64_t)>
at::Tensor modulate_rows(const ModulateArgs& a) {
  auto out = at::empty_like(a.x);
  const int64_t width = a.x.size(2);
  const auto args = cpu_norm_rows(a.x, out.mutable_data_ptr(), a.scale, a.shift, a.rows, a.eps);
  at::parallel_for(0, a.x.size(0) * a.x.size(1), row_grain(width), [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return out;
}

bool modulate_fits(const ModulateArgs& a) { return fits_rows(a.x) && a.scale.stride(0) == a.shift.stride(0); }
bool modulate_avx512(const ModulateArgs& a) { return cpu_features().avx512 && modulate_fits(a); }
bool modulate_avx2(const ModulateArgs& a) { return cpu_features().avx2 && modulate_fits(a); }
bool modulate_always(const ModulateArgs&) { return true; }
bool modulate_fits_cuda(const ModulateArgs& a) {
  return fits_cuda_rows(a.x) && fits_cuda_table(a.scale, a.x, a.rows) && fits_cuda_table(a.shift, a.x, a.rows) &&
         a.scale.stride(0) == a.shift.stride(0) && cuda_norm_modulate_allowed("rms_norm_modulate", a.x);
}
at::Tensor modulate_cuda(const ModulateArgs& a) {
  at::Tensor out = at::empty_like(a.x);
  gpu::NormModulateLaunch launch = cuda_rows(a.x, a.scale, a.rows);
  launch.x = const_cast<void*>(a.x.const_data_ptr());  // written only with an update
  launch.out = out.mutable_data_ptr();
  launch.scale = a.scale.const_data_ptr<float>(), launch.shift = a.shift.const_data_ptr<float>();
  launch.eps = static_cast<float>(a.eps);
  launch_on(a.x, "rms_norm_modulate", cuda_plugin().table->norm_modulate, launch);
  return out;
}

constexpr Variant<ModulateArgs, at::Tensor> kModulate[] = {
    {"cuda", modulate_fits_cuda, modulate_cuda},
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

cpu::AddGatedRow gate_args(const GateArgs& a) {
  return {cpu_row_type(a.x), a.x.mutable_data_ptr(), a.y.const_data_ptr(), a.gate.defined() ? a.gate.const_data_ptr<float>() : nullptr,
          a.gate.defined() ? a.gate.stride(0) : 0, a.rows.index.defined() ? a.rows.index.const_data_ptr<int64_t>() : nullptr, a.x.size(1),
          a.x.size(2)};
}

template <void (*kRun)(const cpu::AddGatedRow&, int64_t, int64_t)>
bool gate_rows(const GateArgs& a) {
  const int64_t width = a.x.size(2);
  const auto args = gate_args(a);
  at::parallel_for(0, a.x.size(0) * a.x.size(1), row_grain(width), [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return true;
}

bool gate_fits(const GateArgs& a) { return fits_rows(a.x) && a.y.is_contiguous(); }
bool gate_avx512(const GateArgs& a) { return cpu_features().avx512 && gate_fits(a); }
bool gate_avx2(const GateArgs& a) { return cpu_features().avx2 && gate_fits(a); }
bool gate_always(const GateArgs&) { return true; }
bool gate_fits_cuda(const GateArgs& a) {
  return fits_cuda_rows(a.x) && a.y.device() == a.x.device() && a.y.is_contiguous() && is_aligned(a.y) &&
         (!a.gate.defined() || fits_cuda_table(a.gate, a.x, a.rows)) && cuda_norm_modulate_allowed("add_gated", a.x);
}
bool gate_cuda(const GateArgs& a) {
  gpu::NormModulateLaunch launch = cuda_rows(a.x, a.gate, a.rows);
  launch.x = a.x.mutable_data_ptr();
  launch.update = a.y.const_data_ptr();
  launch.gate = a.gate.defined() ? a.gate.const_data_ptr<float>() : nullptr;
  launch_on(a.x, "add_gated", cuda_plugin().table->norm_modulate, launch);
  return true;
}

constexpr Variant<GateArgs, bool> kGate[] = {{"cuda", gate_fits_cuda, gate_cuda},
                                             {"avx512", gate_avx512, gate_rows<cpu::avx512::add_gated>},
                                             {"avx2", gate_avx2, gate_rows<cpu::avx2::add_gated>},
                                             {"reference", gate_always, gate_reference}};

struct GatedNormArgs {
  at::Tensor& x;
  const at::Tensor &y, &gate, &scale, &shift;
  const TokenRows& rows;
  double eps;
  GateArgs first() const { return {x, y, gate, rows}; }
  ModulateArgs second() const { return {x, scale, shift, rows, eps}; }
};
bool gated_norm_fits_cuda(const GatedNormArgs& a) {
  return fits_cuda_gated(a.x, a.y, {&a.gate, &a.scale, &a.shift}, a.scale.stride(0), a.rows) && cuda_norm_modulate_allowed("gated_norm_modulate", a.x);
}
at::Tensor gated_norm_cuda(const GatedNormArgs& a) {
  at::Tensor out = at::empty_like(a.x);
  gpu::NormModulateLaunch launch = cuda_gated(a.x, a.y, a.gate, a.scale, a.shift, a.rows, a.eps);
  launch.out = out.mutable_data_ptr();
  launch_on(a.x, "gated_norm_modulate", cuda_plugin().table->norm_modulate, launch);
  return out;
}
template <void (*kRun)(const cpu::AddGatedRow&, const cpu::NormModulateRow&, int64_t, int64_t)>
at::Tensor gated_norm_rows(const GatedNormArgs& a) {
  at::Tensor out = at::empty_like(a.x);
  const auto update = gate_args(a.first());
  const auto norm = cpu_norm_rows(a.x, out.mutable_data_ptr(), a.scale, a.shift, a.rows, a.eps);
  at::parallel_for(0, a.x.size(0) * a.x.size(1), row_grain(a.x.size(2)), [&](int64_t begin, int64_t end) { kRun(update, norm, begin, end); });
  return out;
}
bool gated_norm_fits(const GatedNormArgs& a) { return gate_fits(a.first()) && modulate_fits(a.second()); }
bool gated_norm_avx512(const GatedNormArgs& a) { return cpu_features().avx512 && gated_norm_fits(a); }
bool gated_norm_avx2(const GatedNormArgs& a) { return cpu_features().avx2 && gated_norm_fits(a); }

// Where the fused kernel of a device has no record, its halves may have one.
at::Tensor gated_norm_parts(const GatedNormArgs& a) {
  dispatch<GateArgs, bool>("add_gated", kGate, a.first());
  return dispatch<ModulateArgs, at::Tensor>("rms_norm_modulate", kModulate, a.second());
}
at::Tensor gated_norm_reference(const GatedNormArgs& a) {
  gate_reference(a.first());
  return modulate_reference(a.second());
}
bool gated_norm_always(const GatedNormArgs&) { return true; }

constexpr Variant<GatedNormArgs, at::Tensor> kGatedNorm[] = {{"cuda", gated_norm_fits_cuda, gated_norm_cuda},
                                                             {"avx512", gated_norm_avx512, gated_norm_rows<cpu::avx512::gated_norm_modulate>},
                                                             {"avx2", gated_norm_avx2, gated_norm_rows<cpu::avx2::gated_norm_modulate>},
                                                             {"parts", gated_norm_always, gated_norm_parts},
                                                             {"reference", gated_norm_always, gated_norm_reference}};

}  // namespace

void check_table(const char* op, const at::Tensor& x, const at::Tensor& table, const TokenRows& rows) {
  LTXV_CHECK(table.dim() == 2 && table.size(1) == x.size(2) && table.scalar_type() == at::kFloat && table.stride(1) == 1, op,
             ": table f32 [U,", x.size(2), "] expected, got ", table.sizes());
  LTXV_CHECK(rows.index.defined() ? rows.index.numel() == x.size(1) && rows.index.is_contiguous() : table.size(0) == 1, op,
             ": one table row a token expected, got ", table.size(0), " rows for ", x.size(1), " tokens");
}

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

at::Tensor gated_norm_modulate_(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const at::Tensor& scale,
                                const at::Tensor& shift, const TokenRows& rows, double eps) {
  LTXV_CHECK(x.dim() == 3 && x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type(),
             "gated_norm_modulate: x and y [B,N,D] of one dtype expected, got ", x.sizes(), " and ", y.sizes());
  if (gate.defined()) check_table("gated_norm_modulate", x, gate, rows);
  check_table("gated_norm_modulate", x, scale, rows);
  check_table("gated_norm_modulate", x, shift, rows);
  const GatedNormArgs args{x, y, gate, scale, shift, rows, eps};
  return dispatch<GatedNormArgs, at::Tensor>("gated_norm_modulate", kGatedNorm, args);
}

}  // namespace ltxv::ops
