// Random draws: a seed means what it means to torch, and a file's draws are taken by name.
#include "diffusion/noise.h"

#include "diffusion/tokens.h"
#include "support/expect_error.h"
#include "support/golden.h"

namespace ltxv {
namespace {

using test::expect_error;

TEST(Noise, EqualsTorchBitForBit) {
  const test::Golden golden("noise");
  for (const uint64_t seed :
       {uint64_t{0}, uint64_t{7}, uint64_t{171198}, (uint64_t{1} << 32) + 5, (uint64_t{1} << 63) + 11}) {
    const auto name = std::to_string(seed);
    NoiseSource source(seed);
    EXPECT_TRUE(at::equal(source.draw("initial", {1, 8, 2, 2, 3}), golden[name + "/first"])) << seed;
    EXPECT_TRUE(at::equal(source.draw("short", {5}), golden[name + "/short"]))
        << seed;  // fewer than 16 values: another path
    EXPECT_TRUE(at::equal(source.draw("tokens", {1, 12, 3}), golden[name + "/tokens"])) << seed;
  }
}

TEST(Noise, SourcesAreIndependentOfEachOther) {
  NoiseSource a(3), b(3);
  const auto first = a.draw("x", {40});
  b.draw("y", {2, 2});
  EXPECT_FALSE(at::equal(first, b.draw("x", {40})));  // another place in b's own stream
  EXPECT_TRUE(at::equal(NoiseSource(3).draw("x", {40}), first));
}

TEST(Noise, KeepsWhatItDrewByName) {
  NoiseSource source(1);
  const auto a = source.draw("initial", {1, 2, 1, 2, 2}),
             b = source.draw(indexed_name("condition", 3), {1, 2, 1, 2, 2});
  ASSERT_EQ(source.drawn().size(), 2u);
  EXPECT_TRUE(at::equal(source.drawn().at("initial"), a));
  EXPECT_TRUE(at::equal(source.drawn().at("condition_03"), b));
}

TEST(Noise, NamesHaveTwoDigits) {
  EXPECT_EQ(indexed_name("decoder", 0), "decoder_00");
  EXPECT_EQ(indexed_name("decoder", 9), "decoder_09");
  EXPECT_EQ(indexed_name("decoder", 10), "decoder_10");
  EXPECT_EQ(indexed_name("decoder", 123), "decoder_123");
}

TEST(Noise, AFileGivesVolumesAndTokensInEitherLayout) {
  const auto volume = at::arange(24, at::kFloat).view({1, 2, 3, 2, 2});
  NoiseSource source({{"initial", volume}, {"image_step_00", to_tokens(volume)}}, "noise.safetensors");
  EXPECT_TRUE(at::equal(source.draw("initial", {1, 2, 3, 2, 2}), volume));
  EXPECT_TRUE(at::equal(source.draw("initial", {1, 12, 2}), to_tokens(volume)));
  EXPECT_TRUE(at::equal(source.draw("image_step_00", {1, 12, 2}), to_tokens(volume)));
  EXPECT_TRUE(at::equal(source.draw("image_step_00", {1, 2, 3, 2, 2}), volume));
}

TEST(Noise, AFileOfAnotherDtypeIsConverted) {
  const auto half = at::tensor({0.5f, -2.0f}).to(at::kHalf);
  EXPECT_TRUE(at::equal(NoiseSource({{"a", half}}, "f").draw("a", {2}), at::tensor({0.5f, -2.0f})));
}

TEST(Noise, WhatAFileLacksIsNamed) {
  NoiseSource source({{"initial", at::zeros({1, 2, 3})}}, "noise.safetensors");
  expect_error(ErrorCode::invalid_argument, "noise.safetensors: noise \"decode\" is missing",
               [&] { source.draw("decode", {1}); });
  expect_error(ErrorCode::invalid_argument, "[1, 2, 3], expected [1, 3, 3]", [&] {
    source.draw("initial", {1, 3, 3});
  });
  // 6 values fit as a count but not as a layout: channels and tokens would trade places.
  expect_error(ErrorCode::invalid_argument, "initial", [&] { source.draw("initial", {1, 2, 1, 1, 3}); });
}

}  // namespace
}  // namespace ltxv
