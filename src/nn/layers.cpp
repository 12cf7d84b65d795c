#include "nn/layers.h"

#include "gelu/gelu.h"
#include "onednn.h"
#include "registry.h"

namespace ltxv::nn {
namespace {

// Logically [out,in], stored [in,out]: so the BLAS reads a small matrix as it lies, where it packs the transpose anew in every call
// (15 % of a denoising step of the bundled model, 96 rows by 192 columns). A large one stays in the mapped file.
Matrix stored_for_products(Matrix weight) {
  constexpr int64_t kLargest = 1 << 20;
  if (weight.plain.defined() && weight.plain.is_cpu() && weight.plain.scalar_type() == at::kFloat && weight.plain.numel() <= kLargest)
    weight.plain = weight.plain.t().contiguous().t();
  return weight;
}

// Output channels by the piece, so that what is widened stays in the cache until it is used and its memory is used again. Sums are
// made in `product_type` and rounded once.
at::Tensor linear_by_pieces(const at::Tensor& x, const Matrix& weight, const at::Tensor& bias, at::ScalarType product_type) {
  constexpr int64_t kPieceElements = 1 << 22;
  const int64_t out = weight.narrow ? weight.narrow->row_count() : weight.plain.size(0);
  const int64_t rows_a_piece = std::max<int64_t>(64, kPieceElements / x.size(-1));
  const int64_t piece = x.is_cpu() ? std::min(out, rows_a_piece) : out;
  const at::Tensor flat = x.reshape({-1, x.size(-1)}).to(product_type);
  at::Tensor y = at::empty({flat.size(0), out}, flat.options());
  for (int64_t begin = 0; begin < out; begin += piece) {
    const int64_t count = std::min(piece, out - begin);
    const at::Tensor rows = (weight.narrow ? weight.narrow->rows(begin, count) : weight.plain.narrow(0, begin, count)).to(product_type);
    at::Tensor into = y.narrow(1, begin, count);
    if (bias.defined()) {
      at::addmm_out(into, bias.narrow(0, begin, count).to(product_type), flat, rows.t());
    } else {
      at::mm_out(into, flat, rows.t());
    }
  }
  auto sizes = x.sizes().vec();
  sizes.back() = out;
  return y.to(x.scalar_type()).view(sizes);
}

at::Tensor packed_linear(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias) {
  static const auto product = ops::onednn_operator("mkldnn::_linear_pointwise");
  // x, weight, bias, what to do with the result, its numbers, its kind
  std::vector<c10::IValue> stack{x, packed, bias.defined() ? c10::IValue(bias) : c10::IValue(), "none",
                                 c10::List<std::optional<at::Scalar>>(), ""};
  product->callBoxed(stack);
  return stack.front().toTensor();
}

// The codes of a weight, made on the host, where it is read, and then sent to its place.
std::shared_ptr<const ops::QuantisedWeight> quantised_on_host(const Scope& at, int64_t in, int64_t out, ops::QuantType type) {
  constexpr int64_t kPieceElements = 1 << 22;
  const Matrix weight = at.take_matrix_on_host("weight", {out, in}, MatrixUse::linear);
  ops::QuantisedRows rows;
  if (weight.narrow && type == ops::QuantType::fp8) {
    if (const auto stored = weight.narrow->stored_codes(at::kFloat8_e4m3fn)) {
      const at::Tensor scales = stored->scales.defined() ? stored->scales : at::ones({1}, at::kFloat);
      rows = {stored->codes, scales.expand({out}).contiguous()};
    }
  }
  if (!rows.defined() && weight.narrow) {
    std::vector<ops::QuantisedRows> parts;
    const int64_t piece = std::max<int64_t>(1, kPieceElements / in);
    for (int64_t begin = 0; begin < out; begin += piece)
      parts.push_back(ops::quantise_rows(weight.narrow->rows(begin, std::min(piece, out - begin)), type));
    rows = ops::joined_rows(parts);
    weight.narrow->let_go();
  }
  if (!rows.defined()) rows = ops::quantise_rows(weight.plain.contiguous(), type);
  if (const auto& place = at.parameters().place())
    rows = {place->place(rows.codes, rows.codes.scalar_type()), place->place(rows.scales, at::kFloat)};
  return std::make_shared<const ops::QuantisedWeight>(ops::quantised_weight(rows.codes, rows.scales, type));
}

}  // namespace

void Linear::pack() {
  constexpr int64_t kSmallest = 1 << 20;
  if (quantised || (weight.plain.defined() && !weight.plain.is_cpu()) || (weight.narrow && weight.narrow->on_device())) return;
  const bool single = weight.dtype() == at::kFloat;
  if (single ? !ops::cpu_features().avx512 : !ops::cpu_features().bf16 || weight.narrow) return;
  const int64_t elements = weight.narrow ? weight.narrow->row_count() * weight.narrow->column_count() : weight.plain.numel();
  if (elements < kSmallest) return;
  const auto reorder = ops::onednn_operator("mkldnn::_reorder_linear_weight");
  if (!reorder || !ops::onednn_operator("mkldnn::_linear_pointwise")) return;
  const at::Tensor values = weight.narrow ? weight.narrow->rows(0, weight.narrow->row_count()) : weight.plain;
  std::vector<c10::IValue> stack{values, c10::IValue()};  // the second: a hint at the number of rows, which changes nothing here
  reorder->callBoxed(stack);
  packed = stack.front().toTensor();
  if (weight.narrow) weight.narrow->let_go();
  weight = {};
}

Linear::Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias)
    : weight(stored_for_products(at.take_matrix("weight", {out, in}, MatrixUse::linear))),
      bias(with_bias == Bias::yes ? at.take("bias", {out}) : at::Tensor()) {}

Linear::Linear(const Scope& at, int64_t in, int64_t out, std::optional<ops::QuantType> quantisation) {
  if (!quantisation || at.parameters().reading() == Reading::names) {
    *this = Linear(at, in, out);
    return;
  }
  quantised = quantised_on_host(at, in, out, *quantisation);
  bias = at.take("bias", {out});
}

at::Tensor Linear::operator()(const Input& x) const {
  if (!x.codes.defined()) return (*this)(x.values);
  return ops::quant_linear(x.codes, *quantised, bias, dtype());
}

Input Linear::with_gelu(const Input& x) const {
  if (!quantised) return {with_gelu(x.values), {}};
  return {{}, ops::quant_linear_gelu(x.codes.defined() ? x.codes : ops::quantise_rows(x.values.contiguous(), quantised->type), *quantised, bias, dtype())};
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (quantised) return ops::quant_linear(ops::quantise_rows(x.contiguous(), quantised->type), *quantised, bias, x.scalar_type());
  if (packed.defined()) return packed_linear(x, packed, bias);
  // 18.8 against 102 GFLOP/s, 1024 rows by 2048 x 2048 on two Zen 3 cores.
  if (ops::is_slow_bf16(x)) return linear_by_pieces(x, weight, bias, at::kFloat);
  if (weight.narrow) return linear_by_pieces(x, weight, bias, x.scalar_type());
  return bias.defined() ? at::linear(x, weight.plain, bias) : at::linear(x, weight.plain);
}

at::Tensor Linear::with_gelu(const at::Tensor& x) const {
  // On the host ATen's fused call computes another GELU, the one with erf.
  if (x.is_cuda() && weight.plain.defined() && bias.defined()) {
    const auto sizes = x.sizes();
    const at::Tensor y = at::_addmm_activation(bias, x.reshape({-1, x.size(-1)}), weight.plain.t(), /*beta=*/1, /*alpha=*/1,
                                               /*use_gelu=*/true);
    auto out = sizes.vec();
    out.back() = y.size(1);
    return y.view(out);
  }
  at::Tensor y = (*this)(x);
  ops::gelu_tanh_(y);
  return y;
}

namespace {

Linear joined_codes(std::initializer_list<const Linear*> layers) {
  std::vector<ops::QuantisedRows> parts;
  std::vector<at::Tensor> biases;
  for (const Linear* layer : layers) {
    if (layer->quantised->scales.is_cpu()) return {};
    parts.push_back({layer->quantised->codes, layer->quantised->scales}), biases.push_back(layer->bias);
  }
  const auto rows = ops::joined_rows(parts);
  Linear all;
  all.quantised = std::make_shared<const ops::QuantisedWeight>(ops::quantised_weight(rows.codes, rows.scales, (*layers.begin())->quantised->type));
  all.bias = at::cat(biases);
  return all;
}

}  // namespace

Linear joined(std::initializer_list<const Linear*> layers) {
  if ((*layers.begin())->quantised) return joined_codes(layers);
  std::vector<at::Tensor> weights, biases;
  for (const Linear* layer : layers) {
    if (!layer->weight.plain.defined() || layer->weight.plain.is_cpu() || !layer->bias.defined()) return {};
    weights.push_back(layer->weight.plain);
    biases.push_back(layer->bias);
  }
  Linear all;
  all.weight.plain = at::cat(weights);
  all.bias = at::cat(biases);
  return all;
}

Embedding::Embedding(const Scope& at, const std::string& name, int64_t count, int64_t width)
    : table(at.take_matrix(name, {count, width}, MatrixUse::table)) {}

at::Tensor Embedding::operator()(const at::Tensor& ids) const {
  return table.narrow ? table.narrow->rows(ids) : table.plain.index_select(0, ids);
}

}  // namespace ltxv::nn
