// How much of every latent cell a mask keeps, and where a masked run starts.
#include "diffusion/mask.h"

#include <gtest/gtest.h>

#include "diffusion/conditioning.h"
#include "diffusion/sampler.h"

namespace ltxv {
namespace {

constexpr Compression kCompression{32, 8};

at::Tensor black(int64_t frames = 17, int64_t height = 64, int64_t width = 160) { return at::zeros({1, 1, frames, height, width}); }

std::vector<float> values(const at::Tensor& t) {
  const auto flat = t.contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

TEST(Mask, OnePixelOpensItsCell) {
  auto mask = black();
  mask[0][0][9][40][70] = 1;  // frame 9 is the first of latent 2; row 40 lies in cell 1, column 70 in cell 2
  const auto kept = kept_strength(mask, kCompression);
  ASSERT_EQ(kept.sizes(), at::IntArrayRef({1, 1, 3, 2, 5}));
  EXPECT_EQ(kept.sum().item<float>(), 3 * 2 * 5 - 1);
  EXPECT_EQ((kept[0][0][2][1][2].item<float>()), 0);
}

TEST(Mask, TheFirstLatentHoldsOneFrame) {
  for (const auto& [frame, latent] : {std::pair{0, 0}, {1, 1}, {8, 1}, {9, 2}, {16, 2}}) {
    auto mask = black(17, 32, 32);
    mask[0][0][frame] = 1;
    std::vector<float> expected(3, 1.0f);
    expected[static_cast<size_t>(latent)] = 0;
    EXPECT_EQ(values(kept_strength(mask, kCompression)), expected) << frame;
  }
}

TEST(Mask, GreyKeepsInPart) {
  auto mask = black(1, 32, 64);
  mask.narrow(4, 0, 32).fill_(0.25);
  EXPECT_EQ(values(kept_strength(mask, kCompression)), (std::vector<float>{0.75f, 1.0f}));
}

TEST(Mask, BlendFallsInEqualSteps) {
  auto mask = black(1, 32, 160);
  mask.narrow(4, 0, 32).fill_(1);  // cells 0 | 1 2 3 4
  // d / 3 is kept at distance 1 and 2, all of it beyond.
  const auto kept = values(kept_strength(mask, kCompression, 2));
  const std::vector<float> expected = {0, 1.0f / 3, 2.0f / 3, 1, 1};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(kept[i], expected[i], 1e-6) << i;
}

TEST(Mask, TheMixGoesAsFarAsStrengthAndScheduleLet) {
  const auto latents = at::randn({1, 4, 1, 1, 3}), noise = at::randn({1, 4, 1, 1, 3});
  const auto strength = at::tensor({1.0f, 0.4f, 0.0f}).view({1, 1, 1, 1, 3});
  const auto mixed = mix_with_noise(latents, noise, 0.8, strength);
  const auto expect_near = [](const at::Tensor& a, const at::Tensor& b) { EXPECT_LT((a - b).abs().max().item<float>(), 1e-6f); };
  EXPECT_TRUE(at::equal(mixed.select(4, 0), latents.select(4, 0)));
  expect_near(mixed.select(4, 1), 0.6 * noise.select(4, 1) + 0.4 * latents.select(4, 1));  // min(0.8, 1 - 0.4)
  expect_near(mixed.select(4, 2), 0.8 * noise.select(4, 2) + 0.2 * latents.select(4, 2));  // min(0.8, 1)
  expect_near(mix_with_noise(latents, noise, 0.8, {}), 0.8 * noise + 0.2 * latents);
}

TEST(Mask, KeptTokensAreToldTheyAreCleanAndNeverMove) {
  NoiseSource noise(0);
  const auto latents = at::randn({1, 4, 1, 1, 3});
  const auto strength = at::tensor({1.0f, 0.5f, 0.0f}).view({1, 1, 1, 1, 3});
  const StartState start = apply_conditions({latents, strength}, {}, kCompression, FrameRule::causal, noise);
  EXPECT_EQ(start.extra_tokens, 0);
  SamplerState state{.tokens = start.tokens, .clean_tokens = start.tokens, .strength = start.strength, .sigmas = {1.0f, 0.6f, 0.3f, 0.0f}};
  EXPECT_EQ(values(token_sigmas(state)), (std::vector<float>{0.0f, 0.5f, 1.0f}));
  const auto velocity = at::ones({1, 3, 4});
  // Cell 1 waits at 0.5 until the schedule is there (0.3), then goes on to 0; cell 2 takes all three steps.
  const auto before = state.tokens;
  euler_step(state, velocity);
  EXPECT_TRUE(at::equal(state.tokens.narrow(1, 0, 2), before.narrow(1, 0, 2)));
  EXPECT_TRUE(at::allclose(state.tokens[0][2], before[0][2] - 0.4));
  euler_step(state, velocity);
  euler_step(state, velocity);
  EXPECT_TRUE(at::equal(state.tokens[0][0], before[0][0]));
  EXPECT_TRUE(at::allclose(state.tokens[0][2], before[0][2] - 1.0));
}

TEST(Mask, AConditionWinsOverIt) {
  NoiseSource noise(0);
  const auto latents = at::randn({1, 4, 2, 1, 2}), image = at::randn({1, 4, 1, 1, 2});
  const StartState start =
      apply_conditions({latents, at::zeros({1, 1, 2, 1, 2})}, {{image, 0, 1.0}}, kCompression, FrameRule::causal, noise);
  EXPECT_TRUE(at::equal(start.tokens.narrow(1, 0, 2), to_tokens(image)));
  EXPECT_EQ(values(start.strength), (std::vector<float>{1, 1, 0, 0}));
}

}  // namespace
}  // namespace ltxv
