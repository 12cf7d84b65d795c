#pragma once
#include <optional>
#include <string>
#include <vector>

#include "adaln/adaln.h"
#include "nn/layers.h"
#include "transformer/head_exchange.h"
#include "transformer/rope.h"
#include "transformer/transformer_config.h"

namespace ltxv {

/// What spatio-temporal guidance replaces in the perturbed pass. `residual` exists in the official code and changes nothing.
enum class SkipMode { attention_values, attention_skip, residual, transformer_block };

/// The modulation of one block or of the final layer: `entries` tables of one row for each distinct timestep.
struct Modulation {
  at::Tensor tables;    ///< f32 [U, entries, D]
  ops::TokenRows rows;  ///< which row each token uses
  at::Tensor entry(int64_t i) const { return tables.select(1, i); }  // [U,D], stride entries*D
};

/// Keys and values of one prompt in one block: they do not change during a run.
struct PromptKeysValues {
  at::Tensor k, v;  ///< [1,S,D], only the prompt's real tokens
};

/// How the products of a block are computed.
struct BlockOptions {
  std::optional<ops::QuantType> quantisation;  ///< of weights and activations; or none
  bool int8_attention = false;                 ///< self-attention in eight bits
};

struct Attention {
  nn::Linear to_q, to_k, to_v, to_out;
  nn::Linear to_qkv;  ///< in place of the first three where nn::joined makes one layer of them
  at::Tensor q_norm, k_norm;  ///< [D]

  Attention() = default;
  enum class Queries { of_norm, of_residual };  ///< what to_q reads: rows behind a norm, or the residual stream
  Attention(const Scope& at, int64_t width, Queries queries, std::optional<ops::QuantType> quantisation);
  /// One product for queries, keys and values; drops the three layers it is made of.
  void join();
};

/// The residual stream between blocks: x + gate * update, the sum not yet made, so that the next block's norm makes it on its way.
struct Stream {
  at::Tensor x;             ///< [P or 1, N, D] contiguous, overwritten
  at::Tensor update, gate;  ///< [P,N,D], f32 [U,D]; undefined: x is complete
  /// x once it is complete. `rows`: of the gate.
  at::Tensor sum(const ops::TokenRows& rows);
};

struct BlockInputs {
  const Modulation& modulation;                 ///< 6 entries: shift, scale, gate of attention, then of the feed-forward
  const RopeTable& rope;
  const std::vector<const PromptKeysValues*>& prompts;  ///< one a pass
  int64_t perturbed_pass = -1;                  ///< row of x to perturb in this block, or none
  SkipMode skip_mode = SkipMode::attention_values;
  HeadExchange* exchange = nullptr;             ///< as in StepInputs
  int64_t member = 0;
};

/// One transformer block. Source: LTX-Video attention.py, BasicTransformerBlock.forward.
class Block {
 public:
  Block(const Scope& at, const TransformerConfig& config, const BlockOptions& options = {});

  /// From x of 1 or P rows to one of P; P = prompts.size(). One row is enough as long as all passes are equal, which they are before the
  /// first cross-attention.
  Stream forward(Stream stream, const BlockInputs& in) const;
  /// text [1,S,D]: the projected caption without padding.
  PromptKeysValues prompt_keys_values(const at::Tensor& text) const;
  /// nn::Linear::pack for the layers that run in every step.
  void pack();

  at::Tensor scale_shift_table;  ///< f32 [6,D], added to the timestep's table

 private:
  /// Completes the stream; then the norm of x, as the layers behind it read it.
  nn::Input normed(Stream& stream, const at::Tensor& scale, const at::Tensor& shift, const ops::TokenRows& rows) const;
  at::Tensor self_attention(const nn::Input& h, const BlockInputs& in) const;
  at::Tensor cross_attention(const at::Tensor& x, const BlockInputs& in) const;

  Attention attn1_, attn2_;
  nn::Linear ff_in_, ff_out_;
  TransformerConfig config_;
  BlockOptions options_;
};

}  // namespace ltxv
