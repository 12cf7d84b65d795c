// Rotary tables against diffusers at the tiny widths and at the released ones.
#include "transformer/rope.h"

#include "support/expect_error.h"
#include "support/golden.h"

namespace ltxv {
namespace {

TransformerConfig of_width(int64_t width) {
  TransformerConfig config;
  config.head_count = 2, config.head_width = width / 2;
  return config;
}

TEST(Rope, EqualsDiffusersAtEveryWidth) {
  const test::Golden golden("rope");
  for (const int64_t width : {20, 32, 64, 2048, 4096}) {
    const auto name = std::to_string(width);
    const auto table = make_rope_table(golden[name + "/in_positions"], of_width(width));
    ASSERT_EQ(table.cos.size(1), width / 2);
    // Frequencies reach 1.6e4: another order of f32 operations already shows as 1e-3. Equal operations give equal
    // tables.
    EXPECT_LE((table.cos - golden[name + "/cos"]).abs().max().item<float>(), 1e-6) << width;
    EXPECT_LE((table.sin - golden[name + "/sin"]).abs().max().item<float>(), 1e-6) << width;
  }
}

TEST(Rope, LeftOverChannelsStandInFrontAndDoNotTurn) {
  const test::Golden golden("rope");
  for (const auto& [width, pairs] : {std::pair<int64_t, int64_t>{20, 1}, {64, 2}, {2048, 1}, {4096, 2}}) {
    const auto table = make_rope_table(golden["32/in_positions"], of_width(width));
    EXPECT_TRUE(at::equal(table.cos.narrow(1, 0, pairs), at::ones({18, pairs})));
    EXPECT_TRUE(at::equal(table.sin.narrow(1, 0, pairs), at::zeros({18, pairs})));
    EXPECT_FALSE(at::equal(table.cos.narrow(1, pairs, 1), at::ones({18, 1})));
  }
}

TEST(Rope, TheRangeOfPositionsIsTheConfigs) {
  auto config = of_width(32);
  const auto positions = at::rand({3, 5});
  const auto table = make_rope_table(positions, config);
  config.rope_max_position = {40, 4096, 4096};
  EXPECT_TRUE(at::equal(make_rope_table(positions * 2, config).cos, table.cos));
}

TEST(Rope, SeparableTablesHoldTheSameAnglesOnce) {
  const test::Golden golden("rope");
  for (const int64_t width : {20, 32, 64, 2048, 4096}) {
    const auto positions = golden[std::to_string(width) + "/in_positions"];
    const auto full = make_rope_table(positions, of_width(width)), few = make_separable_rope_table(positions, of_width(width));
    const auto again = ops::expanded(few, width);
    EXPECT_LE((again.cos - full.cos).abs().max().item<float>(), 1e-6) << width;
    EXPECT_LE((again.sin - full.sin).abs().max().item<float>(), 1e-6) << width;
    int64_t different = 0;
    for (int64_t axis = 0; axis < 3; ++axis) different += std::get<0>(at::_unique2(positions[axis])).size(0);
    EXPECT_EQ(few.cos.size(0), different);
    EXPECT_EQ(few.cos.size(1), width / 6);
  }
}

TEST(Rope, TheOpTurnsBySeparableTablesAsByFullOnes) {
  const test::Golden golden("rope");
  const auto positions = golden["64/in_positions"];
  const auto full = make_rope_table(positions, of_width(64)), few = make_separable_rope_table(positions, of_width(64));
  const auto weight = at::rand({64}) + 0.5;
  auto one = at::randn({2, positions.size(1), 64}), other = one.clone(), q = one.clone(), k = at::randn_like(q), alone = k.clone();
  ops::qk_norm_rope_(one, weight, full, 1e-5);
  ops::qk_norm_rope_(other, weight, few, 1e-5);
  EXPECT_MATCHES(other, one, 1e-5);
  ops::qk_norm_rope_(q, weight, k, weight, full, 1e-5);
  ops::qk_norm_rope_(alone, weight, full, 1e-5);
  EXPECT_TRUE(at::equal(q, one));
  EXPECT_TRUE(at::equal(k, alone));
}

TEST(Rope, OtherShapesAndTypesAreRefused) {
  test::expect_error(ErrorCode::invalid_argument, "[3,N]", [] { make_rope_table(at::zeros({2, 5}), of_width(32)); });
  test::expect_error(ErrorCode::invalid_argument, "f32", [] {
    make_rope_table(at::zeros({3, 5}, at::kLong), of_width(32));
  });
}

}  // namespace
}  // namespace ltxv
