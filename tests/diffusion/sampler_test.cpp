// Steps of tokens against ltx_video's denoising_step.
#include "diffusion/sampler.h"

#include "support/golden.h"

namespace ltxv {
namespace {

SamplerState golden_start(const test::Golden& golden, bool conditioned) {
  SamplerState state;
  state.tokens = golden["in_start"];
  for (const double sigma : golden.numbers("in_sigmas")) state.sigmas.push_back(static_cast<float>(sigma));
  state.sigmas.push_back(0);
  if (conditioned) {
    state.strength = golden["in_strength"];
    state.clean_tokens = state.tokens;
  }
  return state;
}

TEST(Sampler, FreeTokensStepAsTheReference) {
  const test::Golden golden("sampler");
  auto state = golden_start(golden, false);
  for (int64_t i = 0; !state.finished(); ++i) {
    const auto at_step = "free/" + std::to_string(i);
    EXPECT_EQ(token_sigmas(state).numel(), 1);
    EXPECT_FLOAT_EQ(token_sigmas(state).item<float>(), state.sigmas[i]);
    euler_step(state, golden[at_step + "/in_velocity"]);
    EXPECT_MATCHES(state.tokens, golden[at_step + "/tokens"], 1e-6) << at_step;
  }
  EXPECT_EQ(state.step, 5);
}

TEST(Sampler, ConditionedTokensStepAsTheReferenceAtEveryRelationOfStrengthAndSchedule) {
  const test::Golden golden("sampler");
  auto state = golden_start(golden, true);
  for (int64_t i = 0; !state.finished(); ++i) {
    const auto at_step = "conditioned/" + std::to_string(i);
    renoise_kept_tokens(state, 0.15, golden[at_step + "/in_noise"]);
    EXPECT_MATCHES(state.tokens, golden[at_step + "/renoised"], 1e-6) << at_step;
    EXPECT_TRUE(at::equal(token_sigmas(state), golden[at_step + "/levels"])) << at_step;
    euler_step(state, golden[at_step + "/in_velocity"]);
    EXPECT_MATCHES(state.tokens, golden[at_step + "/tokens"], 1e-6) << at_step;
  }
}

TEST(Sampler, KeptTokensNeverMoveWithoutRenoising) {
  const test::Golden golden("sampler");
  auto state = golden_start(golden, true);
  const auto start = state.tokens.clone();
  while (!state.finished()) euler_step(state, at::ones_like(start));
  EXPECT_TRUE(at::equal(state.tokens.narrow(1, 10, 2), start.narrow(1, 10, 2)));
  EXPECT_FALSE(at::equal(state.tokens.narrow(1, 0, 1), start.narrow(1, 0, 1)));
}

TEST(Sampler, OneStepFromPureNoiseSubtractsTheVelocity) {
  // x0 = x - 1 * v
  SamplerState state{.tokens = at::tensor({3.0f, -1.0f}).view({1, 2, 1}), .sigmas = {1.0f, 0.0f}};
  euler_step(state, at::tensor({0.5f, 2.0f}).view({1, 2, 1}));
  EXPECT_TRUE(at::equal(state.tokens, at::tensor({2.5f, -3.0f}).view({1, 2, 1})));
  EXPECT_TRUE(state.finished());
}

}  // namespace
}  // namespace ltxv
