// The parts of a long video, against diffusers (make_conditioning_golden.py).
#include "diffusion/windows.h"

#include "diffusion/latent_filters.h"
#include "support/golden.h"

namespace ltxv {
namespace {

constexpr Compression kCompression{32, 8};
constexpr double kTolerance = 1e-6;

TEST(Windows, SplitAsDiffusersDoes) {
  const test::Golden golden("long_video");
  for (const auto& [length, size, overlap] : {std::tuple<int64_t, int64_t, int64_t>{9, 5, 2}, {8, 5, 3}, {5, 5, 1}, {3, 10, 3}, {40, 10, 3}, {6, 3, 2}}) {
    const auto name = "windows/" + std::to_string(length) + "_" + std::to_string(size) + "_" + std::to_string(overlap);
    std::vector<int64_t> flat;
    for (const Window& w : split_into_windows(length, size, overlap)) flat.insert(flat.end(), {w.begin, w.end});
    EXPECT_TRUE(at::equal(at::tensor(flat, at::kLong).view({-1, 2}), golden[name])) << name;
  }
}

TEST(Windows, PositionsAreThoseOfDiffusers) {
  const test::Golden golden("long_video");
  const auto latents = [](int64_t frames) { return at::randn({1, 8, frames, 2, 3}); };
  const auto positions = [&](int64_t own, const WindowContext& context) {
    return to_positions(window_tokens({own, 2, 3}, 8, context, kCompression).coordinates, 25);
  };
  EXPECT_TRUE(at::equal(positions(5, {.reference = latents(1)}), golden["positions/first"]));
  EXPECT_TRUE(at::equal(positions(5, {.previous = latents(2), .previous_strength = 0.5, .reference = latents(1)}), golden["positions/later"]));
  EXPECT_TRUE(at::equal(positions(5, {.previous = latents(2), .previous_strength = 0.5, .guide = latents(4), .guide_begin = 2, .reference = latents(1)}),
                        golden["positions/guided"]));
  EXPECT_TRUE(at::equal(positions(4, {}), golden["positions/bare"]));
}

TEST(Windows, WhatIsAppendedIsKeptByItsStrength) {
  const auto image = at::randn({1, 8, 1, 2, 3}), tail = at::randn({1, 8, 2, 2, 3});
  const auto w = window_tokens({3, 2, 3}, 8,
                               {.first_image = image, .first_strength = 0.75, .previous = tail, .previous_strength = 0.5, .reference = image},
                               kCompression);
  EXPECT_EQ(w.shape, (LatentShape{6, 2, 3}));
  const auto freedom = w.freedom.view({6, 6}).mean(1);
  EXPECT_TRUE(at::equal(freedom, at::tensor({0.25f, 1.0f, 1.0f, 0.5f, 0.5f, 0.0f})));
  EXPECT_TRUE(at::equal(w.clean.narrow(1, 0, 6), to_tokens(image)));
  EXPECT_TRUE(at::equal(w.clean.narrow(1, 18, 12), to_tokens(tail)));
  const auto x = at::randn(w.clean.sizes());
  const auto blended = blend_kept(x, w);
  EXPECT_TRUE(at::equal(blended.narrow(1, 30, 6), to_tokens(image)));
  EXPECT_TRUE(at::equal(blended.narrow(1, 6, 12), x.narrow(1, 6, 12)));
  EXPECT_TRUE(at::allclose(blended.narrow(1, 18, 12), (x.narrow(1, 18, 12) + to_tokens(tail)) / 2));
}

TEST(Windows, StepsEqualDiffusersAncestralScheduler) {
  const test::Golden golden("long_video");
  const std::vector<float> sigmas = {1.0f, 0.725f, 0.25f, 0.0f};
  for (const double eta : {0.0, 0.5, 1.0}) {
    for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
      const auto noise = eta > 0 ? golden["in_noise"] : at::Tensor();
      std::string name = "step/" + std::to_string(eta).substr(0, 3) + "_" + std::to_string(i);
      EXPECT_MATCHES(ancestral_step(golden["in_x"], golden["in_v"], sigmas[i], sigmas[i + 1], eta, noise), golden[name], kTolerance) << name;
    }
  }
}

TEST(Windows, StatisticsAndJoinsEqualDiffusers) {
  const test::Golden golden("long_video");
  EXPECT_MATCHES(match_statistics(golden["in_a"], golden["in_b"], 0.25), golden["match"], 1e-5);
  for (const int overlap : {1, 2, 3})
    EXPECT_MATCHES(join_windows(golden["in_a"], golden["in_b"], overlap), golden["join/" + std::to_string(overlap)], kTolerance) << overlap;
}

TEST(Windows, PromptsAreSplitAtBars) {
  EXPECT_EQ(split_prompts("a | b b|c"), (std::vector<std::string>{"a", "b b", "c"}));
  EXPECT_EQ(split_prompts("one"), std::vector<std::string>{"one"});
  EXPECT_EQ(split_prompts(""), std::vector<std::string>{""});
  EXPECT_EQ(split_prompts(" a |"), (std::vector<std::string>{"a", ""}));
}

}  // namespace
}  // namespace ltxv
