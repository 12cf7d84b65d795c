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

/// All passes of one step see the same tokens at the same noise level and differ by prompt; the perturbed one is the last.
struct StepInputs {
  const at::Tensor& tokens;  ///< f32 [1,N,C]
  const at::Tensor& sigmas;  ///< f32 [1], or [N] when tokens have noise levels of their own
  const RopeTable& rope;
  std::vector<const PromptContext*> prompts;  ///< one a pass
  const Perturbation* perturbation = nullptr; ///< applies to the last pass
};

class Transformer {
 public:
  /// Claims every tensor. Errors: BadWeights, NumericError.
  Transformer(const TransformerConfig& config, Parameters& parameters, WeightOrder order = WeightOrder::of_file);

  /// embeds [1,S,caption] any float dtype; mask i64 [1,S], 1 = token. Padding is dropped (its weight in the reference is exactly 0).
  PromptContext prepare_prompt(const at::Tensor& embeds, const at::Tensor& mask) const;

  /// Velocity f32 [P,N,C], one row a pass. Looks for cancellation between blocks.
  /// Errors: Cancelled; InvalidArgument for a block index out of range.
  /// Source: diffusers transformer_ltx.py, LTXVideoTransformer3DModel.forward.
  at::Tensor forward(const StepInputs& in, const RunContext& run) const;

  const TransformerConfig& config() const { return config_; }
  at::ScalarType dtype() const { return patchify_proj_.dtype(); }

 private:
  TransformerConfig config_;
  nn::Linear patchify_proj_, adaln_linear_, caption_1_, caption_2_, proj_out_;
  nn::TimestepEmbedder timestep_embedder_;
  at::Tensor scale_shift_table_;  // f32 [2,D]
  std::vector<Block> blocks_;
};

}  // namespace ltxv
