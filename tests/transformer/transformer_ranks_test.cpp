// A prediction that several devices share is the one that a single device makes. Ranks are threads on the host here, and on the
// stand-in for devices, where an operation over tensors of two devices is refused.
#include "transformer/transformer_ranks.h"

#include <ATen/CPUGeneratorImpl.h>

#include "base/transfer.h"
#include "gpu/made_source.h"
#include "support/expect_error.h"
#include "support/fake_device.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr double kTolerance = 1e-5;  // relative, over all numbers: products of fewer rows add up in another order
constexpr int64_t kTokens = 29;      // prime: no split is even

TransformerConfig six_heads() {
  auto c = test::tiny_transformer_config();
  c.head_count = 6, c.head_width = 8;
  return c;
}

at::Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions().dtype(at::kFloat));
}

// Weights large enough that heads differ and attention is far from even.
std::shared_ptr<const TensorSource> made_source() {
  const test::TempFolder folder;
  std::map<std::string, at::Tensor> tensors;
  const gpu_check::MadeTransformer names(six_heads());
  for (const TensorEntry& entry : names.entries()) {
    const auto values = draw(entry.shape, 10 + tensors.size());
    tensors[entry.name] = entry.name.ends_with("norm.weight") ? values * 0.2 + 1 : values * 0.15;
  }
  save_tensors(folder / "made.safetensors", tensors);
  return open_tensors(folder / "made.safetensors", FileAccess::copy);
}

class TransformerRanksTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Transformer> transformer_on(at::Device device, const BlockOptions& blocks = {}) {
    static const auto source = made_source();
    Parameters parameters(source, {}, at::kFloat, "transformer");
    if (!device.is_cpu()) parameters.send_to(resident_place(device));
    return std::make_shared<const Transformer>(six_heads(), parameters, TransformerOptions{WeightOrder::of_file, blocks});
  }
  std::unique_ptr<TransformerRanks> ranks_of(std::vector<at::Device> devices, int64_t token_count = kTokens, const BlockOptions& blocks = {}) {
    std::vector<std::shared_ptr<const Transformer>> transformers;
    for (const at::Device device : devices) transformers.push_back(transformer_on(device, blocks));
    std::vector<c10::Stream> streams;
    for (const at::Device device : devices)
      if (!device.is_cpu()) streams.push_back(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device));
    auto ranks = std::make_unique<TransformerRanks>(transformers, streams, 2, positions(token_count));
    for (int64_t i = 0; i < 2; ++i) ranks->add_prompt(embeds_[i], at::ones({1, embeds_[i].size(1)}, at::kLong));
    return ranks;
  }
  static at::Tensor positions(int64_t token_count) {
    const auto index = at::arange(token_count, at::kFloat);
    return at::stack({index.div(12, "floor") * 0.32, index.div(4, "floor").remainder(3) * 32, index.remainder(4) * 32}).contiguous();
  }

  /// One device on its own.
  at::Tensor alone(const at::Tensor& tokens, const at::Tensor& sigmas, const std::vector<size_t>& prompts,
                   const Perturbation* perturbation = nullptr, const BlockOptions& blocks = {}) {
    const auto transformer = transformer_on(at::kCPU, blocks);
    std::vector<PromptContext> contexts;
    for (const auto& embeds : embeds_) contexts.push_back(transformer->prepare_prompt(embeds, at::ones({1, embeds.size(1)}, at::kLong)));
    std::vector<const PromptContext*> passes;
    for (const size_t p : prompts) passes.push_back(&contexts[p]);
    const auto levels = transformer->noise_levels(sigmas);
    const auto rope = transformer->rope_table(positions(tokens.size(1)));
    return transformer->forward({.tokens = tokens, .levels = levels, .rope = rope, .prompts = passes, .perturbation = perturbation}, {});
  }

  const at::Tensor tokens_ = draw({1, kTokens, 8}, 1), one_level_ = at::full({1}, 0.7f);
  const at::Tensor level_each_ = at::where(at::arange(kTokens) < 12, at::full({}, 0.05f), at::full({}, 0.7f));
  const std::vector<at::Tensor> embeds_ = {draw({1, 7, 24}, 2), draw({1, 5, 24}, 3)};
};

TEST_F(TransformerRanksTest, EveryNumberOfRanksAndPassesGivesTheSame) {
  for (const auto& sigmas : {one_level_, level_each_})
    for (const std::vector<size_t>& passes : {std::vector<size_t>{0}, {1, 0}, {1, 0, 0}}) {
      const auto expected = alone(tokens_, sigmas, passes);
      for (size_t count = 1; count <= 6; ++count) {
        const auto ranks = ranks_of(std::vector<at::Device>(count, at::kCPU));
        const auto out = ranks->forward({tokens_, sigmas, passes}, {});
        EXPECT_LE(test::relative_rms(out, expected), kTolerance) << count << " ranks, " << passes.size() << " passes";
        EXPECT_TRUE(at::equal(ranks->forward({tokens_, sigmas, passes}, {}), out));  // whatever the order of the threads
      }
    }
}

TEST_F(TransformerRanksTest, ThePerturbedPassIsPerturbedWhereverItIs) {
  for (const auto mode : {SkipMode::attention_values, SkipMode::attention_skip, SkipMode::residual, SkipMode::transformer_block}) {
    const Perturbation perturbation{{0, -1}, mode};
    for (const std::vector<size_t>& passes : {std::vector<size_t>{0, 0}, {1, 0, 0}}) {
      const auto expected = alone(tokens_, level_each_, passes, &perturbation);
      for (const size_t count : {2, 3, 4, 6})
        EXPECT_LE(test::relative_rms(ranks_of(std::vector<at::Device>(count, at::kCPU))->forward({tokens_, level_each_, passes, &perturbation}, {}), expected), kTolerance)
            << count << " ranks, " << passes.size() << " passes, mode " << static_cast<int>(mode);
    }
  }
}

TEST_F(TransformerRanksTest, EightBitsAreThoseOfOneDevice) {
  const BlockOptions blocks{.quantisation = ops::QuantType::int8, .int8_attention = true};
  const auto expected = alone(tokens_, one_level_, {1, 0}, nullptr, blocks);
  const double lost = test::relative_rms(alone(tokens_, one_level_, {1, 0}), expected);
  EXPECT_GT(lost, 1e-3);
  // A value in the middle of two codes may get the other one.
  EXPECT_LE(test::relative_rms(ranks_of({at::kCPU, at::kCPU, at::kCPU}, kTokens, blocks)->forward({tokens_, one_level_, {1, 0}}, {}), expected), lost / 4);
}

TEST_F(TransformerRanksTest, TensorsStayOnTheirDevices) {
  const auto place = [](int i) { return test::fake_device(i); };
  for (const std::vector<size_t>& passes : {std::vector<size_t>{0}, {1, 0}, {1, 0, 0}}) {
    const Perturbation perturbation{{1}, SkipMode::attention_values};
    const Perturbation* const perturbed = passes.size() == 3 ? &perturbation : nullptr;
    const auto expected = alone(tokens_, level_each_, passes, perturbed);
    for (const auto& devices : {std::vector<at::Device>{place(0), place(1)}, {place(2), place(0), place(1)}}) {
      const auto ranks = ranks_of(devices);
      const auto out = ranks->forward({to_device(tokens_, devices.front()), level_each_, passes, perturbed}, {});
      EXPECT_EQ(out.device(), devices.front());
      EXPECT_LE(test::relative_rms(to_host(out), expected), kTolerance);
    }
  }
}

TEST_F(TransformerRanksTest, OneRankReadsNoMoreThanItMust) {
  constexpr int64_t kEven = 24, kWidth = 48, kLayers = 3;
  const auto tokens = draw({1, kEven, 8}, 1);
  for (const int64_t count : {2, 3, 6}) {
    const auto ranks = ranks_of(std::vector<at::Device>(count, at::kCPU), kEven);
    ranks->forward({tokens, one_level_, {0}}, {});
    // Queries, keys, values and results of 1/P of the tokens, but for the 1/P that stay: 4 N D / P (P - 1) / P numbers a layer.
    for (const int64_t bytes : ranks->bytes_received()) EXPECT_EQ(bytes, kLayers * 4 * kEven * kWidth * (count - 1) / (count * count) * 4);
  }
  // Two passes on two devices need nothing of each other.
  const auto apart = ranks_of({at::kCPU, at::kCPU}, kEven);
  apart->forward({tokens, one_level_, {1, 0}}, {});
  EXPECT_EQ(apart->bytes_received(), std::vector<int64_t>({0, 0}));
}

TEST_F(TransformerRanksTest, FewerTokensThanRanksLeaveSomeIdle) {
  const auto tokens = draw({1, 2, 8}, 1);
  EXPECT_LE(test::relative_rms(ranks_of(std::vector<at::Device>(5, at::kCPU), 2)->forward({tokens, one_level_, {0}}, {}), alone(tokens, one_level_, {0})), kTolerance);
}

TEST_F(TransformerRanksTest, ErrorsAndCancellationEndAllRanks) {
  const auto ranks = ranks_of({at::kCPU, at::kCPU, at::kCPU});
  const auto expected = ranks->forward({tokens_, one_level_, {0}}, {});
  const auto token = std::make_shared<CancelToken>();
  token->trip();
  RunHooks hooks;
  hooks.cancel = token;
  expect_error(ErrorCode::cancelled, "cancelled", [&] { ranks->forward({tokens_, one_level_, {0}}, RunContext(hooks)); });
  const Perturbation wrong{{7}, SkipMode::attention_values};
  expect_error(ErrorCode::invalid_argument, "block 7", [&] { ranks->forward({tokens_, one_level_, {0}, &wrong}, {}); });
  EXPECT_TRUE(at::equal(ranks->forward({tokens_, one_level_, {0}}, {}), expected));
  expect_error(ErrorCode::invalid_argument, "7 devices cannot share 6 heads of attention", [&] { ranks_of(std::vector<at::Device>(7, at::kCPU)); });
}

}  // namespace
}  // namespace ltxv
