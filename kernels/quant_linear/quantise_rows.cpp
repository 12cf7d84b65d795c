#include <ATen/Parallel.h>

#include "cuda_plugin.h"
#include "quant_linear/quant_linear.h"
#include "quant_linear/quant_rows.h"
#include "quant_linear/quant_types.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  const at::Tensor& x;
  QuantType type;
  bool gelu;
};

QuantisedRows reference(const Args& a) {
  const at::Tensor x = a.x.to(at::kFloat);
  return quantise_reference(a.gelu ? at::gelu(x, "tanh") : x, a.type);
}

template <void (*kRun)(const cpu::QuantiseRow&, int64_t, int64_t)>
QuantisedRows rows(const Args& a) {
  QuantisedRows out = empty_rows(a.x.sizes(), a.x.device(), a.type);
  const int64_t width = a.x.size(-1);
  const cpu::QuantiseRow args{.type = cpu_row_type(a.x), .x = a.x.const_data_ptr(), .gelu = a.gelu, .to = cpu_codes(out, a.type),
                              .width = width};
  at::parallel_for(0, out.scales.numel(), row_grain(width), [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return out;
}

bool fits(const Args& a) { return a.x.is_cpu(); }
bool fits_avx512(const Args& a) { return cpu_features().avx512 && fits(a); }
bool fits_avx2(const Args& a) { return cpu_features().avx2 && fits(a); }
bool always(const Args&) { return true; }

bool fits_cuda(const Args& a) {
  return is_cuda_float(a.x) && a.type == QuantType::fp8 && a.x.numel() > 0 && a.x.size(-1) % 8 == 0 && a.x.size(-1) <= gpu::kMaxQuantWidth &&
         a.x.numel() / a.x.size(-1) <= INT32_MAX && is_aligned(a.x) && cuda_variant_allowed("quantise_rows", "cuda", a.x.device()) &&
         cuda_plugin().table->quantise_rows;
}
QuantisedRows run_cuda(const Args& a) {
  QuantisedRows out = empty_rows(a.x.sizes(), a.x.device(), a.type);
  launch_on(a.x, "quantise_rows", cuda_plugin().table->quantise_rows,
            gpu::QuantiseRowsLaunch{.type = cuda_element(a.x), .x = a.x.const_data_ptr(), .codes = out.codes.mutable_data_ptr(),
                                    .scales = out.scales.mutable_data_ptr<float>(), .rows = static_cast<int32_t>(out.scales.numel()),
                                    .width = static_cast<int32_t>(a.x.size(-1)), .gelu = a.gelu});
  return out;
}

constexpr Variant<Args, QuantisedRows> kVariants[] = {{"cuda", fits_cuda, run_cuda},
                                                      {"avx512", fits_avx512, rows<cpu::avx512::quantise>},
                                                      {"avx2", fits_avx2, rows<cpu::avx2::quantise>},
                                                      {"reference", always, reference}};

QuantisedRows quantise(const Args& a) {
  LTXV_CHECK(a.x.dim() >= 1 && a.x.size(-1) > 0 && a.x.is_contiguous() && (a.x.scalar_type() == at::kFloat || a.x.scalar_type() == at::kBFloat16),
             "quantise_rows: contiguous rows of f32 or bf16 expected, got ", a.x.sizes(), " of ", a.x.scalar_type());
  return dispatch<Args, QuantisedRows>("quantise_rows", kVariants, a);
}

}  // namespace

QuantisedRows quantise_reference(const at::Tensor& x, QuantType type) {
  const at::Tensor largest = x.abs().amax(-1, /*keepdim=*/true);
  const double range = largest_code(type);
  at::Tensor codes = x * at::where(largest > 1e-30, range / largest, 0.0f);
  codes = type == QuantType::int8 ? codes.round().to(at::kChar) : codes.clamp(-range, range).to(at::kFloat8_e4m3fn);
  return {codes, (largest / range).flatten()};
}

QuantisedRows empty_rows(at::IntArrayRef sizes, at::Device device, QuantType type) {
  const auto options = at::TensorOptions().device(device);
  return {at::empty(sizes, options.dtype(scalar_type(type))), at::empty({c10::multiply_integers(sizes) / sizes.back()}, options.dtype(at::kFloat))};
}

QuantisedRows quantise_rows(const at::Tensor& x, QuantType type) { return quantise({x, type, false}); }
QuantisedRows gelu_quantise_rows(const at::Tensor& x, QuantType type) { return quantise({x, type, true}); }

QuantisedRows joined_rows(const std::vector<QuantisedRows>& parts) {
  // As bytes: not every device joins fp8.
  std::vector<at::Tensor> codes, scales;
  for (const QuantisedRows& part : parts) codes.push_back(part.codes.view(at::kByte)), scales.push_back(part.scales);
  return {at::cat(codes).view(parts.front().codes.scalar_type()), at::cat(scales)};
}

at::Tensor widened(const QuantisedRows& rows, at::ScalarType dtype) {
  auto per_row = rows.codes.sizes().vec();
  per_row.back() = 1;
  return (rows.codes.to(at::kFloat) * rows.scales.view(per_row)).to(dtype);
}

}  // namespace ltxv::ops
