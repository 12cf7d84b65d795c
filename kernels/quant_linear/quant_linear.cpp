#include "quant_linear/quant_linear.h"

#include <ATen/Parallel.h>

#include "cuda_plugin.h"
#include "onednn.h"
#include "quant_linear/quant_types.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  const QuantisedRows& x;
  const QuantisedWeight& weight;
  const at::Tensor& bias;
  at::ScalarType dtype;
  bool gelu;  // codes of the GELU instead of values
  std::vector<int64_t> out_sizes() const {
    auto sizes = x.codes.sizes().vec();
    sizes.back() = weight.out;
    return sizes;
  }
};
struct Product {
  at::Tensor values;
  QuantisedRows rows;
};

Product finished(const Args& a, at::Tensor y) {
  y = y.view(a.out_sizes());
  if (!a.gelu) return {y, {}};
  return {{}, gelu_quantise_rows(y, a.weight.type)};
}

// Output channels by the piece, so that what is widened stays in the cache until it is used.
Product reference(const Args& a) {
  constexpr int64_t kPieceElements = 1 << 22;
  const QuantisedWeight& w = a.weight;
  const int64_t piece = a.x.codes.is_cpu() ? std::max<int64_t>(64, kPieceElements / w.in) : w.out;
  const at::Tensor x = a.x.codes.reshape({-1, w.in}).to(at::kFloat);
  at::Tensor y = at::empty({x.size(0), w.out}, x.options());
  for (int64_t begin = 0; begin < w.out; begin += piece) {
    const int64_t count = std::min(piece, w.out - begin);
    at::Tensor into = y.narrow(1, begin, count);
    at::mm_out(into, x, w.codes.narrow(0, begin, count).to(at::kFloat).t());
  }
  y = y.mul_(a.x.scales.unsqueeze(-1)).mul_(w.scales);
  if (a.bias.defined()) y.add_(a.bias.to(at::kFloat));
  if (a.gelu) return {{}, quantise_reference(at::gelu(y, "tanh").view(a.out_sizes()), w.type)};
  return {y.to(a.dtype).view(a.out_sizes()), {}};
}
bool always(const Args& a) { return a.weight.codes.defined(); }

// cuBLASLt's fp8 products, or LibTorch's own where that has no scales by row.
bool fits_scaled_mm(const Args& a) {
  return a.x.codes.is_cuda() && a.weight.type == QuantType::fp8 && a.dtype == at::kBFloat16 && a.weight.in % 16 == 0 && a.weight.out % 16 == 0 &&
         a.x.codes.numel() > 0 && cuda_arch(a.x.codes.device()) >= 89 && (!a.bias.defined() || a.bias.scalar_type() == at::kBFloat16);
}
Product scaled_mm(const Args& a) {
  const std::optional<at::Tensor> bias = a.bias.defined() ? std::optional(a.bias) : std::nullopt;
  return finished(a, at::_scaled_mm(a.x.codes.reshape({-1, a.weight.in}), a.weight.codes.t(), a.x.scales.view({-1, 1}), a.weight.scales.view({1, -1}),
                                    bias, std::nullopt, at::kBFloat16, /*use_fast_accum=*/true));
}

template <void (*kRun)(const cpu::QuantiseRow&, int64_t, int64_t)>
void finish_rows(const cpu::QuantiseRow& args, int64_t row_count) {
  at::parallel_for(0, row_count, row_grain(args.width), [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
}

// Products of bytes by the matrix units, scaled by channel, then scales by row and bias in one pass of ours.
Product run_onednn(const Args& a) {
  static const auto product = onednn_operator("onednn::qlinear_pointwise");
  // x, its scale and zero point, weight, scales, zero points, bias, scale and zero point of the result, its type, what follows
  std::vector<c10::IValue> stack{a.x.codes.reshape({-1, a.weight.in}), 1.0, int64_t{0}, a.weight.packed, a.weight.scales, a.weight.zero_points, c10::IValue(),
                                 1.0, int64_t{0}, a.dtype, "none", c10::List<std::optional<at::Scalar>>(), ""};
  product->callBoxed(stack);
  at::Tensor y = stack.front().toTensor();
  const at::Tensor bias = a.bias.defined() ? a.bias.to(at::kFloat) : a.bias;
  Product out;
  if (a.gelu) out.rows = empty_rows(a.out_sizes(), at::kCPU, a.weight.type);
  const cpu::QuantiseRow args{.type = cpu_row_type(y), .x = y.const_data_ptr(), .row_scale = a.x.scales.const_data_ptr<float>(),
                              .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr, .gelu = a.gelu,
                              .to = a.gelu ? cpu_codes(out.rows, a.weight.type) : cpu::CodedRows{}, .values = y.mutable_data_ptr(), .width = a.weight.out};
  cpu_features().avx512 ? finish_rows<cpu::avx512::quantise>(args, y.size(0)) : finish_rows<cpu::avx2::quantise>(args, y.size(0));
  if (!a.gelu) out.values = y.view(a.out_sizes());
  return out;
}
bool fits_onednn(const Args& a) { return a.weight.packed.defined() && a.x.codes.numel() > 0; }

constexpr Variant<Args, Product> kVariants[] = {{"scaled_mm", fits_scaled_mm, scaled_mm}, {"onednn", fits_onednn, run_onednn}, {"reference", always, reference}};

Product run(const Args& a) {
  LTXV_CHECK(a.x.codes.dim() >= 1 && a.x.codes.size(-1) == a.weight.in && a.x.codes.scalar_type() == scalar_type(a.weight.type) &&
                 a.x.codes.is_contiguous() && a.x.scales.numel() * a.weight.in == a.x.codes.numel(),
             "quant_linear: contiguous codes [..,", a.weight.in, "] of ", scalar_type(a.weight.type), " with a scale a row expected, got ",
             a.x.codes.sizes(), " of ", a.x.codes.scalar_type());
  LTXV_CHECK(!a.bias.defined() || (a.bias.dim() == 1 && a.bias.size(0) == a.weight.out), "quant_linear: bias [", a.weight.out, "] expected");
  LTXV_CHECK(a.dtype == at::kFloat || a.dtype == at::kBFloat16, "quant_linear: f32 or bf16 out, not ", a.dtype);
  return dispatch<Args, Product>("quant_linear", kVariants, a);
}

}  // namespace

QuantisedWeight quantised_weight(at::Tensor codes, at::Tensor scales, QuantType type) {
  LTXV_CHECK(codes.dim() == 2 && codes.scalar_type() == scalar_type(type) && scales.dim() == 1 && scales.size(0) == codes.size(0) &&
                 scales.scalar_type() == at::kFloat,
             "quantised_weight: codes [out,in] of ", scalar_type(type), " and scales f32 [out] expected, got ", codes.sizes(), " and ", scales.sizes());
  QuantisedWeight w{.type = type, .out = codes.size(0), .in = codes.size(1), .codes = codes.contiguous(), .scales = scales.contiguous()};
  // Without VNNI oneDNN adds up pairs of products in 16 bits, where they overflow.
  if (type != QuantType::int8 || !w.codes.is_cpu() || !cpu_features().vnni) return w;
  const auto pin = pinned_variant("quant_linear");
  const auto reorder = onednn_operator("onednn::qlinear_prepack");
  if (!reorder || !onednn_operator("onednn::qlinear_pointwise") || (pin && *pin != "onednn")) return w;
  std::vector<c10::IValue> stack{w.codes, c10::IValue()};  // the second: a hint at the number of rows
  reorder->callBoxed(stack);
  w.packed = stack.front().toTensor();
  w.zero_points = at::zeros({w.out}, at::kInt);
  w.codes.reset();
  return w;
}

at::Tensor quant_linear(const QuantisedRows& x, const QuantisedWeight& weight, const at::Tensor& bias, at::ScalarType dtype) {
  return run({x, weight, bias, dtype, false}).values;
}
QuantisedRows quant_linear_gelu(const QuantisedRows& x, const QuantisedWeight& weight, const at::Tensor& bias, at::ScalarType dtype) {
  return run({x, weight, bias, dtype, true}).rows;
}

}  // namespace ltxv::ops
