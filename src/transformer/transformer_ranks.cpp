#include "transformer/transformer_ranks.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <deque>
#include <numeric>

#include "base/transfer.h"
#include "transformer/head_exchange.h"

namespace ltxv {

/// The calling thread as a rank: its device, the streams of all of them, its share of the host's threads; as it was at the end.
class TransformerRanks::OnRank {
 public:
  OnRank(const TransformerRanks& ranks, at::Device device) : threads_before_(at::get_num_threads()) {
    at::set_num_threads(std::max(1, ranks.threads_ / static_cast<int>(ranks.ranks_.size())));
    if (device.is_cpu()) return;
    guard_.emplace(device.type());
    device_before_ = guard_->exchangeDevice(device);
    for (const c10::Stream& stream : ranks.streams_) streams_before_.push_back(guard_->exchangeStream(stream));
  }
  ~OnRank() {
    at::set_num_threads(threads_before_);
    if (!guard_) return;
    for (const c10::Stream& stream : streams_before_) guard_->exchangeStream(stream);
    guard_->uncheckedSetDevice(device_before_);
  }
  OnRank(const OnRank&) = delete;
  OnRank& operator=(const OnRank&) = delete;

 private:
  c10::InferenceMode inference_;
  int threads_before_;
  std::optional<c10::impl::VirtualGuardImpl> guard_;
  at::Device device_before_ = at::kCPU;
  std::vector<c10::Stream> streams_before_;
};

TransformerRanks::TransformerRanks(std::vector<std::shared_ptr<const Transformer>> transformers, std::vector<c10::Stream> streams,
                                   int threads, at::Tensor positions)
    : streams_(std::move(streams)),
      threads_(threads),
      positions_(std::move(positions)),
      bytes_received_(transformers.size()),
      threads_of_ranks_(static_cast<int>(transformers.size())) {
  const auto heads = transformers.front()->config().head_count;
  LTXV_CHECK(static_cast<int64_t>(transformers.size()) <= heads, transformers.size(), " devices cannot share ", heads, " heads of attention");
  for (auto& transformer : transformers) ranks_.push_back({.transformer = std::move(transformer), .prompts = {}, .rope = {}});
}

void TransformerRanks::on_ranks(const std::function<void(int rank)>& work) {
  threads_of_ranks_.run([&](int rank) {
    const OnRank here(*this, ranks_[static_cast<size_t>(rank)].transformer->device());
    work(rank);
  });
}

size_t TransformerRanks::add_prompt(const at::Tensor& embeds, const at::Tensor& mask) {
  on_ranks([&](int i) {
    Rank& rank = ranks_[static_cast<size_t>(i)];
    rank.prompts.push_back(rank.transformer->prepare_prompt(embeds, mask));
  });
  return ranks_.front().prompts.size() - 1;
}

at::Tensor TransformerRanks::forward(const SharedStep& in, const RunContext& run) {
  const auto rank_count = static_cast<int64_t>(ranks_.size()), pass_count = static_cast<int64_t>(in.prompts.size());
  const TransformerConfig& config = ranks_.front().transformer->config();
  const int64_t token_count = in.tokens.size(1), group_count = std::gcd(rank_count, pass_count), group_size = rank_count / group_count;
  const Split passes{pass_count, group_count}, rows{token_count, std::min(group_size, token_count)};

  const at::Tensor out = at::empty({pass_count, token_count, config.out_channels}, in.tokens.options());
  std::deque<HeadExchange> exchanges;
  for (int64_t i = 0; i < group_count; ++i) exchanges.emplace_back(threads_of_ranks_, rows, config.head_count);

  on_ranks([&](int i) {
    const int64_t group = i / group_size, member = i % group_size;
    if (member >= rows.count) return;  // fewer tokens than ranks
    Rank& rank = ranks_[static_cast<size_t>(i)];
    const Transformer& transformer = *rank.transformer;
    const auto mine = [&](const at::Tensor& t, int64_t axis) { return t.narrow(axis, rows.begin(member), rows.size(member)); };

    auto [rope, missing] = rank.rope.try_emplace(rows.count);
    if (missing) rope->second = transformer.rope_table(mine(positions_, 1).contiguous());
    const at::Tensor tokens = mine(in.tokens, 1).to(transformer.device(), /*non_blocking=*/true).contiguous();
    const NoiseLevels levels = transformer.noise_levels(in.sigmas.size(0) == 1 ? in.sigmas : mine(in.sigmas, 0).contiguous());
    std::vector<const PromptContext*> prompts;
    for (int64_t p = passes.begin(group); p < passes.begin(group + 1); ++p) prompts.push_back(&rank.prompts[in.prompts[static_cast<size_t>(p)]]);
    HeadExchange& exchange = exchanges[static_cast<size_t>(group)];
    const StepInputs step{.tokens = tokens,
                          .levels = levels,
                          .rope = rope->second,
                          .prompts = prompts,
                          .perturbation = group + 1 == group_count ? in.perturbation : nullptr,
                          .exchange = rows.count > 1 ? &exchange : nullptr,
                          .member = member};
    // One rank looks for cancellation: the others end with it.
    const at::Tensor velocity = transformer.forward(step, i == 0 ? run : RunContext());
    mine(out.narrow(0, passes.begin(group), passes.size(group)), 1).copy_(velocity, /*non_blocking=*/true);
    bytes_received_[static_cast<size_t>(i)] += exchange.bytes_received(member);
  });
  return out;
}

}  // namespace ltxv
