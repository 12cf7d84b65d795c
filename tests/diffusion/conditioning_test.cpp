// Where a run starts when it must contain images and clips, against diffusers' pipeline.
#include "diffusion/conditioning.h"

#include "support/expect_error.h"
#include "support/golden.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr Compression kCompression{32, 8};

std::vector<EncodedCondition> conditions_of(const test::Golden& golden, const std::string& job) {
  std::vector<EncodedCondition> items;
  for (int i = 0; golden.has(job + "/in_condition_" + std::to_string(i)); ++i) {
    const auto n = golden.numbers(job + "/in_condition_" + std::to_string(i));
    items.push_back({golden[job + "/condition_latents_" + std::to_string(i)], static_cast<int64_t>(n[0]), n[1]});
  }
  return items;
}

NoiseSource draws_of(const test::Golden& golden, const std::string& job) {
  std::map<std::string, at::Tensor> draws;
  for (const auto& name : golden.below(job + "/noise/")) draws[name] = golden[job + "/noise/" + name];
  return NoiseSource(draws, "golden");
}

StartState start_of(const test::Golden& golden, const std::string& job) {
  auto noise = draws_of(golden, job);
  const auto initial = golden[job + "/noise/initial"];
  return apply_conditions(noise.draw("initial", initial.sizes()), conditions_of(golden, job), kCompression,
                          FrameRule::causal, noise);
}

// Tokens that a run never moves (strength 1) are in the reference's last step what they were at the start.
void expect_kept_tokens_equal(const test::Golden& golden, const std::string& job, const StartState& start,
                              int64_t kept) {
  const auto last = golden[job + "/step_tokens"][-1];
  ASSERT_EQ(start.tokens.sizes(), last.sizes()) << job;
  const auto index = at::nonzero(start.strength == 1).flatten();
  EXPECT_EQ(index.numel(), kept) << job;
  EXPECT_MATCHES(start.tokens.index_select(1, index), last.index_select(1, index), 1e-5) << job;
}

TEST(Conditioning, WithoutConditionsNothingIsAdded) {
  const auto volume = at::randn({1, 8, 3, 2, 3});
  NoiseSource noise(0);
  const auto start = apply_conditions(volume, {}, kCompression, FrameRule::plain, noise);
  EXPECT_TRUE(at::equal(start.tokens, to_tokens(volume)));
  EXPECT_FALSE(start.strength.defined());
  EXPECT_EQ(start.extra_tokens, 0);
  EXPECT_TRUE(at::equal(start.coordinates, grid_coordinates({3, 2, 3}, kCompression, FrameRule::plain)));
  EXPECT_TRUE(noise.drawn().empty());
}

TEST(Conditioning, AnImageAtFrameZeroReplacesTheFirstLatent) {
  const test::Golden golden("pipelines");
  const auto start = start_of(golden, "i2v");
  EXPECT_EQ(start.extra_tokens, 0);
  EXPECT_EQ(start.strength.sum().item<float>(), 6);
  expect_kept_tokens_equal(golden, "i2v", start, 6);
  // The others are the initial noise.
  EXPECT_TRUE(at::equal(start.tokens.narrow(1, 6, 12), to_tokens(golden["i2v/noise/initial"]).narrow(1, 6, 12)));
}

TEST(Conditioning, APartialStrengthMixes) {
  const test::Golden golden("pipelines");
  const auto start = start_of(golden, "i2v_soft");
  const auto noise = golden["i2v_soft/noise/initial"], image = golden["i2v_soft/condition_latents_0"];
  const auto mixed = to_tokens(0.4 * noise.narrow(2, 0, 1) + 0.6 * image);
  EXPECT_MATCHES(start.tokens.narrow(1, 0, 6), mixed, 1e-6);
  EXPECT_NEAR(start.strength[0].item<float>(), 0.6, 1e-7);
}

TEST(Conditioning, ALaterImageBecomesTokensInFront) {
  const test::Golden golden("pipelines");
  const auto start = start_of(golden, "keyframes");
  EXPECT_EQ(start.extra_tokens, 6);
  EXPECT_EQ(start.tokens.size(1), 24);
  // lerp of its own draw and the image, 0.8; coordinates of a one-frame grid at frame 13.
  const auto mixed =
      to_tokens(0.2 * golden["keyframes/noise/condition_00"] + 0.8 * golden["keyframes/condition_latents_1"]);
  EXPECT_MATCHES(start.tokens.narrow(1, 0, 6), mixed, 1e-6);
  EXPECT_TRUE(
      at::equal(start.coordinates.narrow(1, 0, 6), grid_coordinates({1, 2, 3}, kCompression, FrameRule::causal, 13)));
  EXPECT_TRUE(
      at::equal(start.coordinates.narrow(1, 6, 18), grid_coordinates({3, 2, 3}, kCompression, FrameRule::causal)));
}

TEST(Conditioning, DrawsAreCountedOverTheItemsThatDraw) {
  const test::Golden golden("pipelines");
  for (const auto& [job, names] : {std::pair{"keyframes", std::vector<std::string>{"condition_00", "initial"}},
                                   {"late_only", {"condition_00", "condition_01", "initial"}}}) {
    auto noise = draws_of(golden, job);
    const auto initial = noise.draw("initial", golden[std::string(job) + "/noise/initial"].sizes());
    apply_conditions(initial, conditions_of(golden, job), kCompression, FrameRule::causal, noise);
    std::vector<std::string> drawn;
    for (const auto& [name, tensor] : noise.drawn()) drawn.push_back(name);
    EXPECT_EQ(drawn, names) << job;
  }
}

TEST(Conditioning, AClipAtFrameZeroCoversItsLatents) {
  const test::Golden golden("pipelines");
  const auto start = start_of(golden, "clip_prefix");
  EXPECT_EQ(start.extra_tokens, 0);
  expect_kept_tokens_equal(golden, "clip_prefix", start, 12);
}

TEST(Conditioning, AClipInTheMiddleIsTwoExtraLatentsAndTheRestInPlace) {
  const test::Golden golden("pipelines");
  const auto start = start_of(golden, "clip_middle");
  EXPECT_EQ(start.extra_tokens, 12);
  EXPECT_EQ(start.strength.sum().item<float>(), 18);
  // 17 frames at frame 8: latents 0 and 1 in front, latent 2 lands on latent 8/8 + 2 = 3 of the video.
  const auto in_place = start.strength.narrow(0, 12, 30).view({5, 6}).sum(1);
  EXPECT_TRUE(at::equal(in_place, at::tensor({0.0f, 0.0f, 0.0f, 6.0f, 0.0f})));
  EXPECT_TRUE(
      at::equal(start.coordinates.narrow(1, 0, 12), grid_coordinates({2, 2, 3}, kCompression, FrameRule::causal, 8)));
}

TEST(Conditioning, WhatDoesNotFitIsAnError) {
  NoiseSource noise(0);
  const auto volume = at::randn({1, 8, 3, 2, 3});
  const auto apply = [&](EncodedCondition c) {
    apply_conditions(volume, {std::move(c)}, kCompression, FrameRule::causal, noise);
  };
  expect_error(ErrorCode::invalid_argument, "ends at latent frame 2", [&] {
    apply({at::randn({1, 8, 4, 2, 3}), 0, 1});
  });
  expect_error(ErrorCode::invalid_argument, "latent frame", [&] { apply({at::randn({1, 8, 3, 2, 3}), 8, 1}); });
  expect_error(ErrorCode::invalid_argument, "do not fit", [&] { apply({at::randn({1, 8, 1, 3, 3}), 0, 1}); });
}

}  // namespace
}  // namespace ltxv
