#include "text/t5_encoder.h"

#include <cmath>
#include <limits>

#include "base/transfer.h"

namespace ltxv {
namespace {

// Statistics in f32 whatever the dtype, as the reference does; no mean is removed and there is no bias.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto f = x.to(at::kFloat);
  const auto normed = f * at::rsqrt(f.pow(2).mean(-1, /*keepdim=*/true) + eps);
  return normed.to(weight.scalar_type()) * weight;
}

}  // namespace

at::Tensor t5_position_buckets(int64_t length, const T5Config& config) {
  const int64_t half = config.bucket_count / 2, exact = half / 2;
  const auto position = at::arange(length, at::kLong);
  const auto relative = position.unsqueeze(0) - position.unsqueeze(1);  // key - query
  const auto distance = relative.abs();
  const double scale = std::log(static_cast<double>(config.bucket_max_distance) / static_cast<double>(exact));
  const auto logarithmic =
      (exact + (at::log(distance.clamp_min(1).to(at::kFloat) / exact) / scale * (half - exact)).to(at::kLong))
          .clamp_max(half - 1);
  return (relative > 0).to(at::kLong) * half + at::where(distance < exact, distance, logarithmic);
}

T5Encoder::T5Encoder(const T5Config& config, Parameters& parameters) : config_(config), place_(parameters.place()) {
  parameters.read_once();
  const Scope root(parameters);
  const int64_t width = config.width, inner = config.head_count * config.head_width, ff = config.feed_forward_width;
  const bool shared = root.has("shared.weight");
  embedding_ = nn::Embedding(root, shared ? "shared.weight" : "encoder.embed_tokens.weight", config.vocabulary, width);
  if (shared && root.has("encoder.embed_tokens.weight"))
    root.take_matrix("encoder.embed_tokens.weight", {config.vocabulary, width}, MatrixUse::table);

  parameters.mapped_weights().let_go();  // a prompt needs few rows of the table

  const Scope first_attention = root / "encoder" / "block" / 0 / "layer" / 0 / "SelfAttention";
  relative_bias_ =
      first_attention.take_as("relative_attention_bias.weight", {config.bucket_count, config.head_count}, at::kFloat);
  for (int64_t i = 0; i < config.layer_count; ++i) {
    parameters.start_block(i);
    const Scope attention = root / "encoder" / "block" / i / "layer" / 0,
                dense = root / "encoder" / "block" / i / "layer" / 1;
    const Scope self = attention / "SelfAttention", gated = dense / "DenseReluDense";
    layers_.push_back({.attention_norm = attention.take("layer_norm.weight", {width}),
                       .feed_forward_norm = dense.take("layer_norm.weight", {width}),
                       .q = {self / "q", width, inner, nn::Bias::no},
                       .k = {self / "k", width, inner, nn::Bias::no},
                       .v = {self / "v", width, inner, nn::Bias::no},
                       .o = {self / "o", inner, width, nn::Bias::no},
                       .wi_0 = {gated / "wi_0", width, ff, nn::Bias::no},
                       .wi_1 = {gated / "wi_1", width, ff, nn::Bias::no},
                       .wo = {gated / "wo", ff, width, nn::Bias::no},
                       .mapped = {}});
    layers_.back().mapped = parameters.mapped_weights();
    layers_.back().mapped.let_go();  // the check for NaN has read it all
  }
  parameters.start_block(-1);
  final_norm_ = root.take("encoder.final_layer_norm.weight", {width});
  parameters.finish();
}

at::Tensor T5Encoder::position_bias(int64_t length) const {
  const auto buckets = to_device(t5_position_buckets(length, config_), relative_bias_.device());
  return relative_bias_.index_select(0, buckets.flatten()).view({length, length, -1}).permute({2, 0, 1}).unsqueeze(0);
}

at::Tensor T5Encoder::forward(const at::Tensor& ids, const at::Tensor& mask, const RunContext& run) const {
  LTXV_CHECK(ids.dim() == 2 && ids.size(0) == 1 && mask.sizes() == ids.sizes(), "ids and mask [1,S] expected, got ",
             ids.sizes(), " and ", mask.sizes());
  LTXV_CHECK(ids.min().item<int64_t>() >= 0 && ids.max().item<int64_t>() < config_.vocabulary,
             "a token id lies outside the text encoder's vocabulary of ", config_.vocabulary,
             ": the tokenizer belongs to another model");
  const int64_t length = ids.size(1), heads = config_.head_count;
  const double masked = std::numeric_limits<float>::lowest();
  const auto device = relative_bias_.device();
  const auto bias =
      position_bias(length) + to_device((1 - mask.to(at::kFloat)).view({1, 1, 1, length}) * masked, device);  // f32 [1,A,S,S]

  auto x = embedding_(to_device(ids[0], device)).unsqueeze(0);
  const auto held = place_ ? place_->hold() : std::unique_lock<std::mutex>();
  for (size_t i = 0; i < layers_.size(); ++i) {
    run.check_cancelled();
    const BlockUse use(place_.get(), static_cast<int64_t>(i));
    const Layer& layer = layers_[i];
    const auto h = rms_norm(x, layer.attention_norm, config_.norm_eps);
    const auto split = [&](const nn::Linear& l) {
      return l(h).view({1, length, heads, -1}).transpose(1, 2);
    };  // [1,A,S,E]
    // Scores are not scaled by 1/sqrt(E): T5 folds that into its initialisation. Softmax in f32.
    const auto scores = at::matmul(split(layer.q), split(layer.k).transpose(-1, -2)).to(at::kFloat) + bias;
    const auto attended = at::matmul(at::softmax(scores, -1).to(x.scalar_type()), split(layer.v));
    x = x + layer.o(attended.transpose(1, 2).reshape({1, length, -1}));

    const auto g = rms_norm(x, layer.feed_forward_norm, config_.norm_eps);
    x = x + layer.wo(at::gelu(layer.wi_0(g), "tanh") * layer.wi_1(g));
    layer.mapped.let_go();  // gigabytes, of which one layer at a time is in use
  }
  return rms_norm(x, final_norm_, config_.norm_eps);
}

}  // namespace ltxv
