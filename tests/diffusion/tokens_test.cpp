// Token order and coordinates, against arithmetic written out here and diffusers' positions.
#include "diffusion/tokens.h"

#include "support/expect_error.h"
#include "support/golden.h"

namespace ltxv {
namespace {

TEST(Tokens, OrderIsFrameRowColumnColumnFastest) {
  const int64_t t = 2, h = 3, w = 4, c = 5;
  const auto volume = at::arange(c * t * h * w, at::kFloat).view({1, c, t, h, w});
  const auto tokens = to_tokens(volume);
  ASSERT_EQ(tokens.sizes(), at::IntArrayRef({1, t * h * w, c}));
  EXPECT_TRUE(tokens.is_contiguous());
  for (int64_t f = 0; f < t; ++f)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x)
        for (int64_t k = 0; k < c; ++k)
          ASSERT_EQ(tokens[0][(f * h + y) * w + x][k].item<float>(), static_cast<float>(((k * t + f) * h + y) * w + x));
  EXPECT_TRUE(at::equal(to_volume(tokens, {t, h, w}), volume));
}

TEST(Tokens, WrongCountIsAnError) {
  test::expect_error(ErrorCode::invalid_argument, "tokens [B,24,C]", [] {
    to_volume(at::zeros({1, 23, 2}), {2, 3, 4});
  });
}

TEST(Tokens, CoordinatesPlainAndCausal) {
  const auto frames = [](FrameRule rule, int64_t offset) {
    const auto c = grid_coordinates({4, 1, 1}, {32, 8}, rule, offset)[0];
    return std::vector<int64_t>(c.const_data_ptr<int64_t>(), c.const_data_ptr<int64_t>() + 4);
  };
  EXPECT_EQ(frames(FrameRule::plain, 0), (std::vector<int64_t>{0, 8, 16, 24}));
  EXPECT_EQ(frames(FrameRule::causal, 0), (std::vector<int64_t>{0, 1, 9, 17}));  // max(0, 8f - 7)
  EXPECT_EQ(frames(FrameRule::causal, 13), (std::vector<int64_t>{13, 14, 22, 30}));
}

TEST(Tokens, CompressionComesFromTheSpec) {
  const auto c = grid_coordinates({2, 2, 2}, {16, 4}, FrameRule::plain);
  EXPECT_EQ(c[0][7].item<int64_t>(), 4);
  EXPECT_EQ(c[1][7].item<int64_t>(), 16);
  EXPECT_EQ(c[2][7].item<int64_t>(), 16);
}

TEST(Tokens, PositionsEqualThePipelinesBitForBit) {
  const test::Golden golden("rope");
  for (const auto& [width, rule] : {std::pair{"32", FrameRule::causal}, {"64", FrameRule::plain}}) {
    const auto positions = to_positions(grid_coordinates({3, 2, 3}, {32, 8}, rule), 25);
    EXPECT_TRUE(at::equal(positions, golden[std::string(width) + "/in_positions"])) << width;
  }
}

}  // namespace
}  // namespace ltxv
