// Tokens of a control clip: where they stand and how strongly they hold. The run itself is compared in tests/pipeline.
#include "diffusion/reference.h"

#include "support/golden.h"

namespace ltxv {
namespace {

constexpr Compression kCompression{32, 8};

StartState bare_start(NoiseSource& noise) {
  return apply_conditions(at::randn({1, 8, 2, 2, 4}), {}, kCompression, FrameRule::causal, noise);
}

TEST(Reference, StandsInFrontAtTheVideosOwnCoordinates) {
  NoiseSource noise(0);
  const auto latents = at::randn({1, 8, 2, 2, 4});
  auto start = bare_start(noise);
  const auto video = start;
  add_reference(start, {.latents = latents}, kCompression, FrameRule::causal, noise);
  EXPECT_EQ(start.extra_tokens, 16);
  EXPECT_TRUE(start.tokens.equal(at::cat({to_tokens(latents), video.tokens}, 1)));
  EXPECT_TRUE(start.coordinates.equal(at::cat({video.coordinates, video.coordinates}, 1)));
  EXPECT_TRUE(start.strength.equal(at::cat({at::ones({16}), at::zeros({16})})));
  EXPECT_TRUE(noise.drawn().empty()) << "a draw would shift those of a seed";
}

TEST(Reference, ComesBeforeConditions) {
  NoiseSource noise(0);
  const auto image = at::randn({1, 8, 1, 2, 4}), latents = at::randn({1, 8, 2, 2, 4});
  auto start = apply_conditions(at::randn({1, 8, 2, 2, 4}), {{image, 5, 0.5}}, kCompression, FrameRule::causal, noise);
  const auto before = start;
  add_reference(start, {.latents = latents}, kCompression, FrameRule::causal, noise);
  EXPECT_EQ(start.extra_tokens, 16 + 8);
  EXPECT_TRUE(start.tokens.equal(at::cat({to_tokens(latents), before.tokens}, 1)));
  EXPECT_TRUE(start.strength.equal(at::cat({at::ones({16}), before.strength})));
}

TEST(Reference, ASmallerClipSpansTheSamePixels) {
  NoiseSource noise(0);
  auto start = bare_start(noise);
  add_reference(start, {.latents = at::randn({1, 8, 2, 1, 2}), .downscale = 2}, kCompression, FrameRule::causal, noise);
  // Two latent frames at 0 and 8 - 7 = 1; one row; columns at 0 and 32, doubled.
  const auto expected = at::tensor({int64_t{0}, int64_t{0}, int64_t{1}, int64_t{1}, int64_t{0}, int64_t{0}, int64_t{0}, int64_t{0},
                                    int64_t{0}, int64_t{64}, int64_t{0}, int64_t{64}});
  EXPECT_TRUE(start.coordinates.narrow(1, 0, 4).equal(expected.view({3, 4})));
}

TEST(Reference, LessThanFullStrengthIsMixedWithItsOwnDraw) {
  const auto latents = at::randn({1, 8, 2, 2, 4}), drawn = at::randn({1, 8, 2, 2, 4});
  NoiseSource noise({{"control", drawn}}, "draws");
  NoiseSource unused(0);
  auto start = bare_start(unused);
  add_reference(start, {.latents = latents, .strength = 0.75}, kCompression, FrameRule::causal, noise);
  EXPECT_MATCHES(start.tokens.narrow(1, 0, 16), to_tokens(drawn * 0.25 + latents * 0.75), 1e-6);
  EXPECT_TRUE(start.strength.narrow(0, 0, 16).equal(at::full({16}, 0.75f)));
}

}  // namespace
}  // namespace ltxv
