#include "transformer/transformer.h"

#include <algorithm>

#include "base/transfer.h"

namespace ltxv {
namespace {

bool perturbs(const Perturbation& p, int64_t block, int64_t block_count) {
  return std::any_of(p.blocks.begin(), p.blocks.end(),
                     [&](int64_t b) { return (b < 0 ? b + block_count : b) == block; });
}

}  // namespace

Transformer::Transformer(const TransformerConfig& config, Parameters& parameters, const TransformerOptions& options)
    : config_(config), place_(parameters.place()) {
  const Scope root(parameters);
  const int64_t width = config.width();
  patchify_proj_ = nn::Linear(root / "patchify_proj", config.in_channels, width);
  timestep_embedder_ = nn::TimestepEmbedder(root / "adaln_single" / "emb", width);
  adaln_linear_ = nn::Linear(root / "adaln_single" / "linear", width, 6 * width);
  caption_1_ = nn::Linear(root / "caption_projection" / "linear_1", config.caption_channels, width);
  caption_2_ = nn::Linear(root / "caption_projection" / "linear_2", width, width);
  blocks_.reserve(config.layer_count);
  for (int64_t i = 0; i < config.layer_count; ++i) {
    parameters.start_block(i);
    const bool outer = i == 0 || i + 1 == config.layer_count;
    blocks_.emplace_back(root / "transformer_blocks" / i, config, outer ? BlockOptions{} : options.blocks);
    if (options.order == WeightOrder::of_file && !options.blocks.quantisation) continue;
    if (options.order == WeightOrder::packed) blocks_.back().pack();
    parameters.mapped_weights().let_go();  // the mapped weights: now, so that they are not all in memory twice
  }
  parameters.start_block(-1);
  scale_shift_table_ = root.take_as("scale_shift_table", {2, width}, at::kFloat);
  proj_out_ = nn::Linear(root / "proj_out", width, config.out_channels);
  parameters.finish();
}

PromptContext Transformer::prepare_prompt(const at::Tensor& embeds, const at::Tensor& mask) const {
  LTXV_CHECK(embeds.dim() == 3 && embeds.size(0) == 1 && embeds.size(2) == config_.caption_channels,
             "prompt embeddings [1,S,", config_.caption_channels, "] expected, got ", embeds.sizes());
  LTXV_CHECK(mask.dim() == 2 && mask.size(0) == 1 && mask.size(1) == embeds.size(1), "prompt mask [1,", embeds.size(1),
             "] expected, got ", mask.sizes());
  const auto tokens = at::nonzero(mask[0]).flatten();
  LTXV_CHECK(tokens.numel() > 0, "the prompt mask marks no token");
  const auto real = to_device(embeds.index_select(1, tokens).to(dtype()), device());
  const auto text = caption_2_(at::gelu(caption_1_(real), "tanh"));
  PromptContext context;
  context.blocks.reserve(blocks_.size());
  const auto held = place_ ? place_->hold() : std::unique_lock<std::mutex>();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const BlockUse use(place_.get(), static_cast<int64_t>(i));
    context.blocks.push_back(blocks_[i].prompt_keys_values(text));
  }
  return context;
}

// Per-token noise levels take few distinct values (a conditioned frame and the rest), so everything that depends on the level is
// computed once for each value and looked up by token.
NoiseLevels Transformer::noise_levels(const at::Tensor& sigmas) const {
  LTXV_CHECK(sigmas.dim() == 1 && sigmas.numel() > 0 && sigmas.is_cpu(), "one sigma, or one a token expected, got ", sigmas.sizes());
  if (sigmas.size(0) == 1) return {to_device(sigmas, device()), {}, 1};
  auto [values, index, counts] = at::_unique2(sigmas, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/false);
  if (values.size(0) == 1) return {to_device(values, device()), {}, sigmas.size(0)};
  return {to_device(values, device()), {to_device(index.contiguous(), device())}, sigmas.size(0)};
}

RopeTable Transformer::rope_table(const at::Tensor& positions) const {
  const auto table = ops::reads_separable_tables(device()) ? make_separable_rope_table(positions, config_) : make_rope_table(positions, config_);
  return {to_device(table.cos, device()), to_device(table.sin, device()), to_device(table.rows, device())};
}

at::Tensor Transformer::forward(const StepInputs& in, const RunContext& run) const {
  LTXV_CHECK(in.tokens.dim() == 3 && in.tokens.size(0) == 1 && in.tokens.size(2) == config_.in_channels,
             "latent tokens [1,N,", config_.in_channels, "] expected, got ", in.tokens.sizes());
  const int64_t token_count = in.tokens.size(1), width = config_.width();
  const NoiseLevels& levels = in.levels;
  LTXV_CHECK(levels.token_count == 1 || levels.token_count == token_count, "one sigma, or one a token expected, got ",
             levels.token_count, " for ", token_count, " tokens");
  const auto block_count = static_cast<int64_t>(blocks_.size());
  if (in.perturbation)
    for (const int64_t b : in.perturbation->blocks)
      LTXV_CHECK(b >= -block_count && b < block_count, "block ", b, " to skip: this model has blocks 0 to ", block_count - 1);

  const auto embedded = timestep_embedder_(levels.values * config_.timestep_scale);                       // [U,D]
  const auto timestep_tables = adaln_linear_(at::silu(embedded)).to(at::kFloat).view({-1, 6, width});  // [U,6,D]

  const auto pass_count = static_cast<int64_t>(in.prompts.size());
  Stream stream{patchify_proj_(in.tokens.to(dtype()))};
  const auto held = place_ ? place_->hold() : std::unique_lock<std::mutex>();
  for (int64_t i = 0; i < block_count; ++i) {
    run.check_cancelled();
    const bool perturbed = in.perturbation && perturbs(*in.perturbation, i, block_count);
    // Where passes are still one row nothing is left to add: that ends with the first block's cross-attention.
    if (perturbed && stream.x.size(0) != pass_count) stream.x = stream.x.expand({pass_count, -1, -1}).contiguous();
    const BlockUse use(place_.get(), i);
    const Modulation modulation{timestep_tables + blocks_[i].scale_shift_table, levels.rows};
    std::vector<const PromptKeysValues*> prompts;
    for (const PromptContext* prompt : in.prompts) prompts.push_back(&prompt->blocks[i]);
    stream = blocks_[i].forward(std::move(stream), {.modulation = modulation,
                                                    .rope = in.rope,
                                                    .prompts = prompts,
                                                    .perturbed_pass = perturbed ? pass_count - 1 : -1,
                                                    .skip_mode = perturbed ? in.perturbation->mode : SkipMode::attention_values,
                                                    .exchange = in.exchange,
                                                    .member = in.member});
  }
  const at::Tensor x = stream.sum(levels.rows);

  // The final layer is a LayerNorm where blocks have RMS, and its table adds the embedding from before the SiLU.
  const Modulation last{scale_shift_table_ + embedded.to(at::kFloat).unsqueeze(1), levels.rows};
  const auto shift = last.rows.index.defined() ? last.entry(0).index_select(0, last.rows.index) : last.entry(0);
  const auto scale = last.rows.index.defined() ? last.entry(1).index_select(0, last.rows.index) : last.entry(1);
  const auto normed = at::layer_norm(x, {width}, {}, {}, config_.norm_eps).to(at::kFloat);
  return proj_out_((normed * (scale + 1.0) + shift).to(dtype())).to(at::kFloat);
}

}  // namespace ltxv
