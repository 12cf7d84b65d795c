// Arguments that do not fit are refused by name, before any variant runs.
#include "adaln/adaln.h"
#include "attention/attention.h"
#include "attention_int8/attention_int8.h"
#include "qk_norm_rope/qk_norm_rope.h"
#include "support/expect_error.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr auto kInvalid = ErrorCode::invalid_argument;

TEST(OpErrors, RmsNormModulate) {
  const auto x = at::zeros({1, 4, 8}), table = at::zeros({1, 8}), index = at::zeros({4}, at::kLong);
  EXPECT_NO_THROW(ops::rms_norm_modulate(x, table, table, {index}, 1e-6));
  expect_error(kInvalid, "rms_norm_modulate: x", [&] { ops::rms_norm_modulate(x[0], table, table, {}, 1e-6); });
  expect_error(kInvalid, "table f32 [U,8]", [&] { ops::rms_norm_modulate(x, at::zeros({1, 7}), table, {}, 1e-6); });
  expect_error(kInvalid, "table f32 [U,8]",
               [&] { ops::rms_norm_modulate(x, table, table.to(at::kBFloat16), {}, 1e-6); });
  expect_error(kInvalid, "2 rows for 4 tokens", [&] { ops::rms_norm_modulate(x, at::zeros({2, 8}), table, {}, 1e-6); });
  expect_error(kInvalid, "one table row a token",
               [&] { ops::rms_norm_modulate(x, table, table, {at::zeros({3}, at::kLong)}, 1e-6); });
}

TEST(OpErrors, AddGated) {
  auto x = at::zeros({1, 4, 8});
  const auto y = at::zeros({1, 4, 8}), gate = at::zeros({1, 8});
  expect_error(kInvalid, "add_gated", [&] { ops::add_gated_(x, at::zeros({1, 3, 8}), gate, {}); });
  expect_error(kInvalid, "one dtype", [&] { ops::add_gated_(x, y.to(at::kBFloat16), gate, {}); });
  expect_error(kInvalid, "table f32 [U,8]", [&] { ops::add_gated_(x, y, at::zeros({1, 9}), {}); });
}

TEST(OpErrors, QkNormRope) {
  auto x = at::zeros({1, 4, 8});
  const auto weight = at::ones({8}), cos = at::ones({4, 4});
  expect_error(kInvalid, "weight [D]", [&] { ops::qk_norm_rope_(x, at::ones({7}), {cos, cos, {}}, 1e-5); });
  expect_error(kInvalid, "come together", [&] { ops::qk_norm_rope_(x, weight, {cos, {}, {}}, 1e-5); });
  expect_error(kInvalid, "tables f32 [4,4]", [&] {
    ops::qk_norm_rope_(x, weight, {at::ones({4, 8}), at::ones({4, 8}), {}}, 1e-5);
  });
  const auto few = at::ones({2, 1}), rows = at::zeros({4, 3}, at::kInt);
  EXPECT_NO_THROW(ops::qk_norm_rope_(x, weight, {few, few, rows}, 1e-5));
  expect_error(kInvalid, "tables f32 [R,1]", [&] { ops::qk_norm_rope_(x, weight, {cos, cos, rows}, 1e-5); });
  expect_error(kInvalid, "table rows i32 [4,3]", [&] { ops::qk_norm_rope_(x, weight, {few, few, rows.to(at::kLong)}, 1e-5); });
}

TEST(OpErrors, Attention) {
  const auto q = at::zeros({1, 4, 8}), k = at::zeros({1, 3, 8});
  EXPECT_NO_THROW(ops::attention(q, k, k, 2));
  expect_error(kInvalid, "attention: q [B,N,D]", [&] { ops::attention(q, k, at::zeros({1, 2, 8}), 2); });
  expect_error(kInvalid, "3 heads do not divide width 8", [&] { ops::attention(q, k, k, 3); });
  expect_error(kInvalid, "0 heads", [&] { ops::attention(q, k, k, 0); });
  expect_error(kInvalid, "dtypes differ", [&] { ops::attention(q, k.to(at::kBFloat16), k.to(at::kBFloat16), 2); });
}

TEST(OpErrors, AttentionInt8) {
  const auto q = at::zeros({1, 4, 8}), k = at::zeros({1, 3, 8});
  EXPECT_NO_THROW(ops::attention_int8(q, k, k, 2));
  expect_error(kInvalid, "attention_int8: q [B,N,D]", [&] { ops::attention_int8(q, k, at::zeros({1, 2, 8}), 2); });
  expect_error(kInvalid, "3 heads do not divide width 8", [&] { ops::attention_int8(q, k, k, 3); });
  expect_error(kInvalid, "dtypes differ", [&] { ops::attention_int8(q, k.to(at::kBFloat16), k.to(at::kBFloat16), 2); });
}

TEST(AttentionInt8, PiecesOfQueriesGiveWhatAllOfThemGive) {
  const auto q = at::randn({1, 5000, 128}), k = at::randn({1, 5000, 128}), v = at::randn({1, 5000, 128});  // more scores than a piece has
  const auto all = ops::attention_int8(q, k, v, 2), some = ops::attention_int8(q.narrow(1, 4000, 10), k, v, 2);
  EXPECT_LE((all.narrow(1, 4000, 10) - some).abs().max().item<double>(), 1e-4);
}

// Random normal values: what eight bits cost against exact attention, and what they would without smoothing the keys.
TEST(AttentionInt8, IsNearExactAttentionAlsoWhereKeysShareAnOffset) {
  for (const int64_t width : {64, 128})
    for (const double offset : {0.0, 30.0}) {
      const auto q = at::randn({1, 512, width}), v = at::randn({1, 512, width});
      const auto k = at::randn({1, 512, width}) + offset * at::randn({1, 1, width});
      const auto exact = ops::attention(q, k, v, 1);
      const double error = ((ops::attention_int8(q, k, v, 1) - exact).norm() / exact.norm()).item<double>();
      EXPECT_LE(error, 0.06) << width << " " << offset;
      EXPECT_GT(error, 1e-3);
    }
}

}  // namespace
}  // namespace ltxv
