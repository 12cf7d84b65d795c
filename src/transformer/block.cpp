#include "transformer/block.h"

#include <algorithm>

#include "attention/attention.h"
#include "attention_int8/attention_int8.h"
#include "qk_norm_rope/qk_norm_rope.h"

namespace ltxv {

// Keys and values of the prompt are computed once a run: nothing is gained there. Queries of the raw residual stream stay as well: a few
// of its channels are far larger than the rest and would take the codes' whole range.
Attention::Attention(const Scope& at, int64_t width, Queries queries, std::optional<ops::QuantType> quantisation)
    : to_q(at / "to_q", width, width, queries == Queries::of_norm ? quantisation : std::nullopt),
      to_k(at / "to_k", width, width, queries == Queries::of_norm ? quantisation : std::nullopt),
      to_v(at / "to_v", width, width, queries == Queries::of_norm ? quantisation : std::nullopt),
      to_out(at / "to_out" / 0, width, width, quantisation),
      q_norm((at / "q_norm").take("weight", {width})),
      k_norm((at / "k_norm").take("weight", {width})) {}

void Attention::join() {
  to_qkv = nn::joined({&to_q, &to_k, &to_v});
  if (to_qkv.bias.defined()) to_q = to_k = to_v = {};
}

Block::Block(const Scope& at, const TransformerConfig& config, const BlockOptions& options)
    : scale_shift_table(at.take_as("scale_shift_table", {6, config.width()}, at::kFloat)),
      attn1_(at / "attn1", config.width(), Attention::Queries::of_norm, options.quantisation),
      attn2_(at / "attn2", config.width(), Attention::Queries::of_residual, options.quantisation),
      ff_in_(at / "ff" / "net" / 0 / "proj", config.width(), 4 * config.width(), options.quantisation),
      ff_out_(at / "ff" / "net" / 2, 4 * config.width(), config.width(), options.quantisation),
      config_(config),
      options_(options) {
  // Joined weights are copies, which a block that takes turns with others must not keep.
  const auto& place = at.parameters().place();
  if (place && !place->takes_turns()) attn1_.join();
}

void Block::pack() {
  for (nn::Linear* layer : {&attn1_.to_q, &attn1_.to_k, &attn1_.to_v, &attn1_.to_out, &attn2_.to_q, &attn2_.to_out, &ff_in_, &ff_out_}) {
    layer->pack();
  }
}

PromptKeysValues Block::prompt_keys_values(const at::Tensor& text) const {
  PromptKeysValues kv{attn2_.to_k(text), attn2_.to_v(text)};
  ops::qk_norm_rope_(kv.k, attn2_.k_norm, {}, config_.qk_norm_eps);
  return kv;
}

at::Tensor Stream::sum(const ops::TokenRows& rows) {
  if (update.defined()) ops::add_gated_(x, update, gate, rows);
  update = gate = at::Tensor();
  return x;
}

nn::Input Block::normed(Stream& stream, const at::Tensor& scale, const at::Tensor& shift, const ops::TokenRows& rows) const {
  auto& [x, update, gate] = stream;
  nn::Input out;
  if (options_.quantisation) {
    out.codes = ops::gated_norm_quantise_(x, update, gate, scale, shift, rows, config_.norm_eps, *options_.quantisation);
  } else if (update.defined()) {
    out.values = ops::gated_norm_modulate_(x, update, gate, scale, shift, rows, config_.norm_eps);
  } else {
    out.values = ops::rms_norm_modulate(x, scale, shift, rows, config_.norm_eps);
  }
  update = gate = at::Tensor();
  return out;
}

at::Tensor Block::self_attention(const nn::Input& h, const BlockInputs& in) const {
  at::Tensor q, k, v;
  if (attn1_.to_qkv.bias.defined()) {
    const auto parts = attn1_.to_qkv(h).chunk(3, -1);  // views, one row of the product apart
    q = parts[0], k = parts[1], v = parts[2];
  } else {
    q = attn1_.to_q(h), k = attn1_.to_k(h), v = attn1_.to_v(h);
  }
  ops::qk_norm_rope_(q, attn1_.q_norm, k, attn1_.k_norm, in.rope, config_.qk_norm_eps);
  const auto attend = options_.int8_attention ? ops::attention_int8 : ops::attention;
  auto out = in.exchange ? in.exchange->attention(in.member, q, k, v, attend) : attend(q, k, v, config_.head_count);
  // Perturbation replaces what goes into the output projection, which is still applied.
  if (in.perturbed_pass >= 0 && in.skip_mode == SkipMode::attention_values) out[in.perturbed_pass].copy_(v[in.perturbed_pass]);
  if (in.perturbed_pass >= 0 && in.skip_mode == SkipMode::attention_skip) out[in.perturbed_pass].copy_(h.as(out.scalar_type())[in.perturbed_pass]);
  return attn1_.to_out(out);
}

at::Tensor Block::cross_attention(const at::Tensor& x, const BlockInputs& in) const {
  auto q = attn2_.to_q(x);
  ops::qk_norm_rope_(q, attn2_.q_norm, {}, config_.qk_norm_eps);
  // Padding would get exactly zero weight (its bias of -10000 underflows), so it is left out, and prompts may differ in length.
  const auto& prompts = in.prompts;
  if (prompts.size() == 1) return attn2_.to_out(ops::attention(q, prompts[0]->k, prompts[0]->v, config_.head_count));
  // On a device one launch for all, where it can be.
  const auto same_length = [&](const PromptKeysValues* prompt) { return prompt->k.size(1) == prompts[0]->k.size(1); };
  if (q.is_cuda() && std::all_of(prompts.begin(), prompts.end(), same_length)) {
    std::vector<at::Tensor> keys, values;
    for (const PromptKeysValues* prompt : prompts) keys.push_back(prompt->k), values.push_back(prompt->v);
    return attn2_.to_out(ops::attention(q, at::cat(keys), at::cat(values), config_.head_count));
  }
  auto out = at::empty_like(q);
  for (int64_t pass = 0; pass < q.size(0); ++pass) {
    const PromptKeysValues& prompt = *prompts[pass];
    out[pass].copy_(ops::attention(q.narrow(0, pass, 1), prompt.k, prompt.v, config_.head_count)[0]);
  }
  return attn2_.to_out(out);
}

Stream Block::forward(Stream stream, const BlockInputs& in) const {
  const Modulation& m = in.modulation;
  const bool skip_block = in.perturbed_pass >= 0 && in.skip_mode == SkipMode::transformer_block;
  const auto before = skip_block ? stream.sum(m.rows)[in.perturbed_pass].clone() : at::Tensor();

  const nn::Input first = normed(stream, m.entry(1), m.entry(0), m.rows);
  at::Tensor& x = stream.x;
  ops::add_gated_(x, self_attention(first, in), m.entry(2), m.rows);

  const auto pass_count = static_cast<int64_t>(in.prompts.size());
  if (x.size(0) != pass_count) x = x.expand({pass_count, -1, -1}).contiguous();

  // No norm, no modulation and no gate: the released weights read the raw residual stream here.
  stream.update = cross_attention(x, in);
  const nn::Input second = normed(stream, m.entry(4), m.entry(3), m.rows);
  stream.update = ff_out_(ff_in_.with_gelu(second)), stream.gate = m.entry(5);

  if (skip_block) stream.sum(m.rows)[in.perturbed_pass].copy_(before);
  return stream;
}

}  // namespace ltxv
