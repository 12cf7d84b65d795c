#include "gpu/eager_twin.h"

#include <cmath>

namespace ltxv::gpu_check {
namespace {

at::Tensor rms_norm(const at::Tensor& x, const std::optional<at::Tensor>& weight, double eps) { return at::rms_norm(x, {x.size(-1)}, weight, eps); }

// apply_rotary_emb: pairs apart, stacked again, two products in f32.
at::Tensor rotated(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto parts = x.unflatten(2, {-1, 2}).unbind(-1);
  const auto turned = at::stack({-parts[1], parts[0]}, -1).flatten(2);
  return (x.to(at::kFloat) * cos + turned.to(at::kFloat) * sin).to(x.scalar_type());
}

at::Tensor sinusoid(const at::Tensor& timestep) {
  const auto frequencies = at::exp(at::arange(128, timestep.options()) * (-std::log(10000.0) / 128));
  const auto angles = timestep.unsqueeze(-1) * frequencies;
  return at::cat({angles.cos(), angles.sin()}, -1);
}

}  // namespace

EagerTwin::Layer EagerTwin::layer(int64_t in, int64_t out) const {
  return {at::randn({out, in}, options_) / std::sqrt(static_cast<double>(in)), at::randn({out}, options_) * 0.02};
}

EagerTwin::EagerTwin(const TransformerConfig& config, at::ScalarType dtype)
    : config_(config), options_(at::TensorOptions().dtype(dtype).device(at::kCUDA)) {
  const int64_t d = config.width();
  patchify_ = layer(config.in_channels, d), time_1_ = layer(256, d), time_2_ = layer(d, d), adaln_ = layer(d, 6 * d);
  caption_1_ = layer(config.caption_channels, d), caption_2_ = layer(d, d), out_ = layer(d, config.out_channels);
  table_ = at::randn({2, d}, options_) / std::sqrt(static_cast<double>(d));
  const auto attention = [&] { return Attention{layer(d, d), layer(d, d), layer(d, d), layer(d, d), at::ones({d}, options_), at::ones({d}, options_)}; };
  for (int64_t i = 0; i < config.layer_count; ++i)
    blocks_.push_back({attention(), attention(), layer(d, 4 * d), layer(4 * d, d), at::randn({6, d}, options_) / std::sqrt(static_cast<double>(d))});
}

at::Tensor EagerTwin::attend(const Attention& a, const at::Tensor& x, const at::Tensor& context, const at::Tensor& cos, const at::Tensor& sin) const {
  auto q = a.q(x), k = a.k(context);
  const auto v = a.v(context);
  q = rms_norm(q, a.q_norm, config_.qk_norm_eps), k = rms_norm(k, a.k_norm, config_.qk_norm_eps);
  if (cos.defined()) q = rotated(q, cos, sin), k = rotated(k, cos, sin);
  const auto heads = [&](const at::Tensor& t) { return t.unflatten(2, {config_.head_count, -1}).transpose(1, 2); };
  const auto y = at::scaled_dot_product_attention(heads(q), heads(k), heads(v));
  return a.out(y.transpose(1, 2).flatten(2, 3).to(q.scalar_type()));
}

at::Tensor EagerTwin::forward(const at::Tensor& tokens, const at::Tensor& text, const at::Tensor& sigma, const at::Tensor& cos,
                              const at::Tensor& sin) const {
  const int64_t batch = tokens.size(0), d = config_.width();
  auto x = patchify_(tokens);
  const auto embedded = time_2_(at::silu(time_1_(sinusoid(sigma * 1000).to(options_.dtype().toScalarType()))));  // [B,D]
  const auto temb = adaln_(at::silu(embedded)).view({batch, 1, 6, d});
  const auto context = caption_2_(at::gelu(caption_1_(text), "tanh"));
  for (const Block& b : blocks_) {
    const auto ada = (b.table.view({1, 1, 6, d}) + temb).unbind(2);  // shift, scale, gate of attention, then of the feed-forward
    auto h = rms_norm(x, std::nullopt, config_.norm_eps) * (1 + ada[1]) + ada[0];
    x = x + attend(b.self, h, h, cos, sin) * ada[2];
    x = x + attend(b.cross, x, context, {}, {});
    h = rms_norm(x, std::nullopt, config_.norm_eps) * (1 + ada[4]) + ada[3];
    x = x + b.ff_out(at::gelu(b.ff_in(h), "tanh")) * ada[5];
  }
  const auto last = (table_.view({1, 1, 2, d}) + embedded.view({batch, 1, 1, d})).unbind(2);
  return out_(at::layer_norm(x, {d}, {}, {}, config_.norm_eps) * (1 + last[1]) + last[0]);
}

}  // namespace ltxv::gpu_check
