#pragma once
// One transformer on several devices, which compute each prediction together.
#include <map>
#include <memory>
#include <vector>

#include <c10/core/Stream.h>

#include "base/ranks.h"
#include "transformer/transformer.h"

namespace ltxv {

/// A step's inputs as StepInputs has them, not yet on their devices.
struct SharedStep {
  const at::Tensor& tokens;      ///< f32 [1,N,C] on the first device
  const at::Tensor& sigmas;      ///< f32 [1] or [N], in the host's memory
  std::vector<size_t> prompts;   ///< one a pass, as add_prompt numbered them
  const Perturbation* perturbation = nullptr;  ///< applies to the last pass
};

/// Passes are dealt out to groups of devices where that comes out even, and tokens to the devices of a group, which exchange heads for
/// the self-attention (HeadExchange); everything else of a token needs no other. For one run at a time.
class TransformerRanks {
 public:
  /// One transformer a rank, on its device; ranks of one device may share one. `streams`: one for each different device, used for all
  /// work there; none for the host. `threads` of the host are divided among the ranks. Shapes: positions f32 [3,N], as rope_table reads.
  /// Errors: InvalidArgument, more ranks than heads.
  TransformerRanks(std::vector<std::shared_ptr<const Transformer>> transformers, std::vector<c10::Stream> streams, int threads,
                   at::Tensor positions);

  /// Returns its number. Arguments and errors: as Transformer::prepare_prompt.
  size_t add_prompt(const at::Tensor& embeds, const at::Tensor& mask);
  /// As Transformer::forward, on the first device.
  at::Tensor forward(const SharedStep& in, const RunContext& run);

  /// What each rank has read of the others since the beginning, for the attention.
  const std::vector<int64_t>& bytes_received() const { return bytes_received_; }

 private:
  class OnRank;
  struct Rank {
    std::shared_ptr<const Transformer> transformer;
    std::vector<PromptContext> prompts;
    std::map<int64_t, RopeTable> rope;  // by the number of ranks that share the tokens
  };
  void on_ranks(const std::function<void(int rank)>& work);

  std::vector<Rank> ranks_;
  std::vector<c10::Stream> streams_;
  int threads_;
  at::Tensor positions_;
  std::vector<int64_t> bytes_received_;
  Ranks threads_of_ranks_;
};

}  // namespace ltxv
