// One forward of the transformer against diffusers and ltx_video, whole and block by block.
#include "transformer/transformer.h"

#include "support/expect_error.h"
#include "support/tiny_model.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr double kTolerance = 1e-4;  // of the deviation of what is expected; measured: below 5e-6

class TransformerTest : public ::testing::Test {
 protected:
  explicit TransformerTest(at::ScalarType dtype = at::kFloat)
      : parameters_(test::tiny_parameters("transformer", dtype)),
        transformer_(test::tiny_transformer_config(), parameters_),
        tokens_(golden_["in_tokens"]) {
    for (int64_t row = 0; row < 2; ++row)
      prompts_.push_back(
          transformer_.prepare_prompt(golden_["in_embeds"].narrow(0, row, 1), golden_["in_masks"].narrow(0, row, 1)));
  }

  at::Tensor forward(const std::string& job, const std::vector<int>& rows, const Perturbation* perturbation = nullptr,
                     const RunContext& run = {}) {
    const auto sigmas = golden_[job + "/in_sigmas"];
    const auto rope = make_rope_table(golden_[job + "/in_positions"], transformer_.config());
    std::vector<const PromptContext*> prompts;
    for (const int row : rows) prompts.push_back(&prompts_[row]);
    return transformer_.forward({tokens_, transformer_.noise_levels(sigmas), rope, prompts, perturbation}, run);
  }

  test::Golden golden_{"transformer"};
  Parameters parameters_;
  Transformer transformer_;
  at::Tensor tokens_;
  std::vector<PromptContext> prompts_;
};

TEST_F(TransformerTest, TwoPassesEqualDiffusers) {
  for (const std::string job : {"plain", "causal", "per_token"})
    EXPECT_MATCHES(forward(job, {0, 1}), golden_[job + "/velocity"], kTolerance) << job;
}

TEST_F(TransformerTest, OnePassIsTheRowOfTwo) {
  for (const std::string job : {"plain", "per_token"}) {
    EXPECT_MATCHES(forward(job, {1}), golden_[job + "/velocity"].narrow(0, 1, 1), kTolerance) << job;
    EXPECT_MATCHES(forward(job, {0}), golden_[job + "/velocity"].narrow(0, 0, 1), kTolerance) << job;
  }
}

TEST_F(TransformerTest, EqualLevelsOfAllTokensAreTheScalarLevel) {
  const auto rope = make_rope_table(golden_["plain/in_positions"], transformer_.config());
  const auto sigmas = golden_["plain/in_sigmas"].expand({18}).contiguous();
  EXPECT_MATCHES(transformer_.forward({tokens_, transformer_.noise_levels(sigmas), rope, {&prompts_[0], &prompts_[1]}}, {}),
                 golden_["plain/velocity"], kTolerance);
}

TEST_F(TransformerTest, PerturbedPassesEqualTheOfficialCode) {
  const std::map<std::string, SkipMode> modes = {{"attention_values", SkipMode::attention_values},
                                                 {"attention_skip", SkipMode::attention_skip},
                                                 {"residual", SkipMode::residual},
                                                 {"transformer_block", SkipMode::transformer_block}};
  for (const auto& [name, mode] : modes)
    for (const auto& [suffix, blocks] : {std::pair{"_1", std::vector<int64_t>{1}}, {"_02", {0, 2}}}) {
      const Perturbation perturbation{blocks, mode};
      EXPECT_MATCHES(forward("perturbed", {0, 1, 1}, &perturbation), golden_["perturbed/" + name + suffix], kTolerance)
          << name << suffix;
    }
}

TEST_F(TransformerTest, PerturbedPassWithoutANegativeOne) {
  const Perturbation perturbation{{0, 2}, SkipMode::attention_values};
  EXPECT_MATCHES(forward("perturbed", {1, 1}, &perturbation), golden_["perturbed/attention_values_02"].narrow(0, 1, 2),
                 kTolerance);
}

TEST_F(TransformerTest, BlocksCountFromTheEndWhenNegative) {
  const Perturbation perturbation{{-3, -1}, SkipMode::attention_skip};
  EXPECT_MATCHES(forward("perturbed", {0, 1, 1}, &perturbation), golden_["perturbed/attention_skip_02"], kTolerance);
}

TEST_F(TransformerTest, NoListedBlockPerturbsNothing) {
  const Perturbation none{{}, SkipMode::transformer_block};
  const auto velocity = forward("perturbed", {1, 1}, &none);
  EXPECT_TRUE(at::equal(velocity[0], velocity[1]));
}

TEST_F(TransformerTest, ABlockThatIsNotThereIsNamed) {
  for (const int64_t block : {int64_t{3}, int64_t{-4}}) {
    const Perturbation perturbation{{block}, SkipMode::attention_values};
    expect_error(ErrorCode::invalid_argument, "block " + std::to_string(block), [&] {
      forward("perturbed", {1, 1}, &perturbation);
    });
  }
}

TEST_F(TransformerTest, BlocksEqualDiffusersOneByOne) {
  for (const std::string job : {"plain", "per_token"}) {
    auto parameters = test::tiny_parameters("transformer", at::kFloat);
    const auto config = test::tiny_transformer_config();
    const auto rope = make_rope_table(golden_[job + "/in_positions"], config);
    const auto masks = golden_["in_masks"];
    const auto tables = golden_[job + "/tables"].view({-1, 6, config.width()});  // one row a level, or one a token
    const ops::TokenRows rows{tables.size(0) > 1 ? at::arange(18, at::kLong) : at::Tensor()};
    auto x = golden_["projected"];
    for (int64_t i = 0; i < config.layer_count; ++i) {
      const Block block(Scope(parameters) / "transformer_blocks" / i, config);
      std::vector<PromptKeysValues> keys;
      for (int64_t row = 0; row < 2; ++row) {
        const int64_t length = masks[row].sum().item<int64_t>();  // padding stands behind
        keys.push_back(block.prompt_keys_values(golden_["caption"].narrow(0, row, 1).narrow(1, 0, length)));
      }
      const Modulation modulation{tables + block.scale_shift_table, rows};
      const auto out =
          block.forward({x.clone()}, {.modulation = modulation, .rope = rope, .prompts = {&keys[0], &keys[1]}}).sum(rows);
      const auto expected = golden_[job + "/block" + std::to_string(i)];
      EXPECT_MATCHES(out, expected, 2e-5) << job << " block " << i;
      x = expected;  // every block starts from the reference, so an error points at its block
    }
  }
}

TEST_F(TransformerTest, PaddingOfThePromptDoesNotMatter) {
  const int64_t length = golden_["in_masks"][1].sum().item<int64_t>();
  auto dirty = golden_["in_embeds"].narrow(0, 1, 1).clone();
  dirty.narrow(1, length, 32 - length).fill_(1e4);
  const auto context = transformer_.prepare_prompt(dirty, golden_["in_masks"].narrow(0, 1, 1));
  const auto rope = make_rope_table(golden_["plain/in_positions"], transformer_.config());
  const auto sigmas = golden_["plain/in_sigmas"];
  EXPECT_MATCHES(transformer_.forward({tokens_, transformer_.noise_levels(sigmas), rope, {&context}}, {}),
                 golden_["plain/velocity"].narrow(0, 1, 1), kTolerance);
}

TEST_F(TransformerTest, InputsAreNotChanged) {
  const auto before = tokens_.clone();
  forward("plain", {0, 1});
  EXPECT_TRUE(at::equal(tokens_, before));
  EXPECT_TRUE(at::equal(forward("plain", {0, 1}), forward("plain", {0, 1})));
}

TEST_F(TransformerTest, WrongInputsAreRefused) {
  const auto rope = make_rope_table(golden_["plain/in_positions"], transformer_.config());
  const auto sigma = at::ones({1}), sigmas = at::ones({5}), wide = at::zeros({1, 18, 9});
  expect_error(ErrorCode::invalid_argument, "[1,N,8]", [&] {
    transformer_.forward({wide, transformer_.noise_levels(sigma), rope, {&prompts_[0]}}, {});
  });
  expect_error(ErrorCode::invalid_argument, "5 for 18 tokens", [&] {
    transformer_.forward({tokens_, transformer_.noise_levels(sigmas), rope, {&prompts_[0]}}, {});
  });
  expect_error(ErrorCode::invalid_argument, "[1,S,24]", [&] {
    transformer_.prepare_prompt(at::zeros({1, 4, 23}), at::ones({1, 4}, at::kLong));
  });
  expect_error(ErrorCode::invalid_argument, "mask", [&] {
    transformer_.prepare_prompt(at::zeros({1, 4, 24}), at::ones({1, 5}, at::kLong));
  });
  expect_error(ErrorCode::invalid_argument, "no token", [&] {
    transformer_.prepare_prompt(at::zeros({1, 4, 24}), at::zeros({1, 4}, at::kLong));
  });
}

TEST_F(TransformerTest, ATrippedTokenStopsBeforeTheNextBlock) {
  const auto token = std::make_shared<CancelToken>();
  const RunContext run(RunHooks{.cancel = token});
  EXPECT_NO_THROW(forward("plain", {1}, nullptr, run));
  token->trip();
  expect_error(ErrorCode::cancelled, "cancelled", [&] { forward("plain", {1}, nullptr, run); });
}

class TransformerBf16Test : public TransformerTest {
 protected:
  TransformerBf16Test() : TransformerTest(at::kBFloat16) {}
};

TEST_F(TransformerBf16Test, StaysWithinTheNoiseOfBf16) {
  // diffusers' own bf16 run of such tiny models differs from its f32 run by 0.0074 to 0.0089 relative RMS.
  for (const std::string job : {"plain", "causal", "per_token"}) {
    const auto velocity = forward(job, {0, 1});
    EXPECT_EQ(velocity.scalar_type(), at::kFloat);
    EXPECT_LE(test::relative_rms(velocity, golden_[job + "/velocity"]), 0.01) << job;
    EXPECT_GT(test::relative_rms(velocity, golden_[job + "/velocity"]), 1e-4) << job << ": this is not bf16";
  }
}

}  // namespace
}  // namespace ltxv
