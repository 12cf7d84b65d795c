// Predictions that several devices share: equal to those of one, and on a machine with several how long they take.
#include <cmath>
#include <iostream>

#include "base/error.h"
#include "base/transfer.h"
#include "gpu/benches.h"
#include "gpu/case_values.h"
#include "gpu/made_source.h"
#include "pipeline/compute_device.h"
#include "pipeline/cuda_probe.h"
#include "transformer/transformer_ranks.h"

namespace ltxv::gpu_check {
namespace {

constexpr int64_t kTextTokens = 128;

// The first `count` devices; a machine with one has it twice.
std::vector<at::Device> first_devices(int64_t count, int64_t there) {
  std::vector<at::Device> devices;
  for (int64_t i = 0; i < count; ++i) devices.emplace_back(at::kCUDA, static_cast<at::DeviceIndex>(i % there));
  return devices;
}

class Shared {
 public:
  Shared(const std::shared_ptr<MadeTransformer>& source, const TransformerConfig& config, at::ScalarType dtype, const std::vector<at::Device>& devices,
         int64_t tokens)
      : x_(draw({1, tokens, config.in_channels})), sigmas_(at::full({1}, 0.7f, at::kFloat)) {
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    std::map<int, std::shared_ptr<const Transformer>> of_device;
    std::vector<std::shared_ptr<const Transformer>> ranks;
    std::vector<c10::Stream> streams;
    for (const at::Device device : devices) {
      auto& transformer = of_device[device.index()];
      if (!transformer) {
        Parameters parameters(source, {}, dtype, "transformer");
        parameters.send_to(resident_place(device));
        transformer = std::make_shared<const Transformer>(config, parameters);
        wait_for(device);
        streams.push_back(device.index() == 0 ? guard.getStream(device) : guard.getStreamFromGlobalPool(device));
      }
      ranks.push_back(transformer);
    }
    const auto positions = headline_positions(tokens);
    const auto embeds = at::randn({1, kTextTokens, config.caption_channels}), mask = at::ones({1, kTextTokens}, at::kLong);
    alone_ = ranks.front();
    rope_ = alone_->rope_table(positions);
    prompt_ = alone_->prepare_prompt(embeds, mask);
    ranks_ = std::make_unique<TransformerRanks>(std::move(ranks), std::move(streams), 8, positions);
    ranks_->add_prompt(embeds, mask);
  }
  at::Tensor together(int64_t passes) { return ranks_->forward({x_, sigmas_, std::vector<size_t>(static_cast<size_t>(passes), 0)}, {}); }
  at::Tensor alone(int64_t passes) {
    const auto levels = alone_->noise_levels(sigmas_);
    return alone_->forward({.tokens = x_, .levels = levels, .rope = rope_, .prompts = std::vector<const PromptContext*>(static_cast<size_t>(passes), &prompt_)}, {});
  }

 private:
  at::Tensor x_, sigmas_;
  std::shared_ptr<const Transformer> alone_;
  RopeTable rope_;
  PromptContext prompt_;
  std::unique_ptr<TransformerRanks> ranks_;
};

bool exactness(int64_t there) {
  TransformerConfig config;
  config.layer_count = 4;
  const auto source = std::make_shared<MadeTransformer>(config);
  bool good = true;
  // bf16: sums in another order are rounded anew in every layer.
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 1e-2}})
    for (const int64_t count : {2, 3}) {
      Shared shared(source, config, dtype, first_devices(count, there), 1001);
      for (const int64_t passes : {1, 2, 3}) {
        const auto expected = shared.alone(passes);
        const double error = ((shared.together(passes) - expected).norm() / expected.norm()).item<double>();
        const bool same = error <= tolerance;
        std::cout << text("{\"event\":\"check\",\"op\":\"ranks\",\"variant\":\"", name_of(dtype), "\",\"case\":\"", count, "_ranks_on_", std::min(count, there),
                          "_devices_passes", passes, "\",\"good\":", same ? "true" : "false", ",\"error\":", std::isfinite(error) ? error : -1,
                          ",\"tolerance\":", tolerance, ",\"note\":\"a shared prediction against that of one device\"}\n")
                  << std::flush;
        good = good && same;
      }
    }
  return good;
}

// One prediction on 1, 2, 4, 8 devices: the ratio of medians is the strong scaling.
bool scaling(const char* name, const TransformerConfig& config, int64_t tokens, int64_t there) {
  const auto source = std::make_shared<MadeTransformer>(config);
  bool good = true;
  for (int64_t count = 2; count <= there; count *= 2) {
    Shared shared(source, config, at::kBFloat16, first_devices(count, there), tokens);
    for (const int64_t passes : {1, 2})
      good = compare(text("forward_", name, "_", tokens, "_passes", passes, "_devices", count),
                     {{"one_device", [&] { shared.alone(passes); }}, {"together", [&] { shared.together(passes); }}}, 0, 0) && good;
  }
  return good;
}

}  // namespace

bool ranks_benches() {
  const auto there = static_cast<int64_t>(probe_cuda().devices.size());
  for (int64_t i = 1; i < there; ++i) open_compute_device(text("cuda:", i));
  bool good = exactness(there);
  if (there < 2) return good;  // nothing to time
  const TransformerConfig small;
  TransformerConfig large;
  large.head_width = 128, large.layer_count = 48;
  good = scaling("2b", small, 6144, there) && good;
  return scaling("13b", large, 12672, there) && good;
}

}  // namespace ltxv::gpu_check
