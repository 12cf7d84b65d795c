#pragma once
// The diffusion transformer: predicts the velocity v = noise - clean of every latent token.
#include <optional>
#include <vector>

#include "base/run_context.h"
#include "nn/timestep.h"
#include "transformer/block.h"

namespace ltxv {

/// One prompt, prepared once a run: keys and values of every block's cross-attention.
struct PromptContext {
  std::vector<PromptKeysValues> blocks;
};

struct Perturbation {
  std::vector<int64_t> blocks;  ///< block indices; negative ones count from the end. Empty: nothing is perturbed
  SkipMode mode = SkipMode::attention_values;
};

/// The distinct noise levels of one step, on the model's device.
struct NoiseLevels {
  at::Tensor values;    ///< f32 [U]
  ops::TokenRows rows;  ///< which one each token has; undefined when U is 1
  int64_t token_count;  ///< that were asked about: 1 or N
};

/// All passes of one step see the same tokens at the same noise level and differ by prompt; the perturbed one is the last.
struct StepInputs {
  const at::Tensor& tokens;  ///< f32 [1,N,C] on the model's device, as the tables are
  const NoiseLevels& levels;
  const RopeTable& rope;
  std::vector<const PromptContext*> prompts;  ///< one a pass
  const Perturbation* perturbation = nullptr; ///< applies to the last pass
  HeadExchange* exchange = nullptr;           ///< where `tokens` are only those of one member: with whom it shares the attention
  int64_t member = 0;
};

struct TransformerOptions {
  WeightOrder order = WeightOrder::of_file;
  BlockOptions blocks;  ///< of all but the first and the last, which keep the compute dtype: errors of theirs weigh most
};

class Transformer {
 public:
  /// Claims every tensor. Errors: BadWeights, NumericError.
  Transformer(const TransformerConfig& config, Parameters& parameters, const TransformerOptions& options = {});

  /// embeds [1,S,caption] any float dtype; mask i64 [1,S], 1 = token; both in the host's memory. Padding is dropped (its weight in the reference is exactly 0).
  PromptContext prepare_prompt(const at::Tensor& embeds, const at::Tensor& mask) const;

  /// sigmas f32 [1], or [N] when tokens have noise levels of their own, in the host's memory: finding the distinct ones on a device
  /// would mean to wait for it.   Errors: InvalidArgument (shape).
  NoiseLevels noise_levels(const at::Tensor& sigmas) const;
  /// Tables made on the host, so that angles are the same on every device, moved to the model's: separable where its kernels read those.
  RopeTable rope_table(const at::Tensor& positions) const;

  /// Velocity f32 [P,N,C], one row a pass, on the model's device; the host does not wait for it. Looks for cancellation between blocks.
  /// Errors: Cancelled; InvalidArgument for a block index out of range.
  /// Source: diffusers transformer_ltx.py, LTXVideoTransformer3DModel.forward.
  at::Tensor forward(const StepInputs& in, const RunContext& run) const;

  const TransformerConfig& config() const { return config_; }
  at::ScalarType dtype() const { return patchify_proj_.dtype(); }
  at::Device device() const { return scale_shift_table_.device(); }
  /// Whether the weights of all blocks are where they are used: else nothing may be recorded that runs later.
  bool is_resident() const { return !place_ || !place_->takes_turns(); }

 private:
  TransformerConfig config_;
  nn::Linear patchify_proj_, adaln_linear_, caption_1_, caption_2_, proj_out_;
  nn::TimestepEmbedder timestep_embedder_;
  at::Tensor scale_shift_table_;  // f32 [2,D]
  std::vector<Block> blocks_;
  std::shared_ptr<WeightPlace> place_;
};

}  // namespace ltxv
