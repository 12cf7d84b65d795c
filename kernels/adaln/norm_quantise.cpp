#include <ATen/Parallel.h>

#include "adaln/adaln_rows.h"
#include "quant_linear/quant_types.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  at::Tensor& x;
  const at::Tensor &y, &gate, &scale, &shift;
  const TokenRows& rows;
  double eps;
  QuantType type;
};

void add_update(const Args& a) {
  if (a.y.defined()) add_gated_(a.x, a.y, a.gate, a.rows);
}

QuantisedRows reference(const Args& a) {
  add_update(a);
  return quantise_reference(modulated_norm(a.x, a.scale, a.shift, a.rows, a.eps), a.type);
}

// Codes of the norm before it is rounded.
template <void (*kRun)(const cpu::NormModulateRow&, const cpu::CodedRows&, int64_t, int64_t)>
QuantisedRows rows(const Args& a) {
  add_update(a);
  QuantisedRows out = empty_rows(a.x.sizes(), at::kCPU, a.type);
  const auto norm = cpu_norm_rows(a.x, nullptr, a.scale, a.shift, a.rows, a.eps);
  const auto to = cpu_codes(out, a.type);
  at::parallel_for(0, out.scales.numel(), row_grain(a.x.size(2)), [&](int64_t begin, int64_t end) { kRun(norm, to, begin, end); });
  return out;
}

bool fits(const Args& a) { return fits_rows(a.x) && a.scale.stride(0) == a.shift.stride(0); }
bool fits_avx512(const Args& a) { return cpu_features().avx512 && fits(a); }
bool fits_avx2(const Args& a) { return cpu_features().avx2 && fits(a); }
bool always(const Args&) { return true; }

bool fits_cuda(const Args& a) {
  return a.type == QuantType::fp8 && fits_cuda_gated(a.x, a.y, {&a.gate, &a.scale, &a.shift}, a.scale.stride(0), a.rows) &&
         cuda_norm_modulate_allowed("norm_quantise", a.x);
}
QuantisedRows run_cuda(const Args& a) {
  QuantisedRows out = empty_rows(a.x.sizes(), a.x.device(), a.type);
  gpu::NormModulateLaunch launch = cuda_gated(a.x, a.y, a.gate, a.scale, a.shift, a.rows, a.eps);
  launch.out_type = gpu::Element::e4m3;
  launch.out = out.codes.mutable_data_ptr(), launch.row_scale = out.scales.mutable_data_ptr<float>();
  launch_on(a.x, "norm_quantise", cuda_plugin().table->norm_modulate, launch);
  return out;
}

// On a device whose fused kernel has no record: two that may have one.
bool fits_parts(const Args& a) { return a.x.is_cuda(); }
QuantisedRows parts(const Args& a) {
  return quantise_rows(a.y.defined() ? gated_norm_modulate_(a.x, a.y, a.gate, a.scale, a.shift, a.rows, a.eps)
                                     : rms_norm_modulate(a.x, a.scale, a.shift, a.rows, a.eps),
                       a.type);
}

constexpr Variant<Args, QuantisedRows> kVariants[] = {{"cuda", fits_cuda, run_cuda},
                                                      {"avx512", fits_avx512, rows<cpu::avx512::norm_quantise>},
                                                      {"avx2", fits_avx2, rows<cpu::avx2::norm_quantise>},
                                                      {"parts", fits_parts, parts},
                                                      {"reference", always, reference}};

}  // namespace

QuantisedRows gated_norm_quantise_(at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, const at::Tensor& scale, const at::Tensor& shift,
                                   const TokenRows& rows, double eps, QuantType type) {
  LTXV_CHECK(x.dim() == 3 && (!y.defined() || (x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type())),
             "norm_quantise: x and y [B,N,D] of one dtype expected, got ", x.sizes());
  if (gate.defined()) check_table("norm_quantise", x, gate, rows);
  check_table("norm_quantise", x, scale, rows);
  check_table("norm_quantise", x, shift, rows);
  return dispatch<Args, QuantisedRows>("norm_quantise", kVariants, {x, y, gate, scale, shift, rows, eps, type});
}

}  // namespace ltxv::ops
