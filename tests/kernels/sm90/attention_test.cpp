// The kernel's own body on the emulator, against f64 and against the plain way of computing attention in bf16.
#include <gtest/gtest.h>

#include "kernels/sm90/emulated_attention.h"

namespace ltxv::test {
namespace {

// One row of one head. `rounded`: what no bf16 kernel can avoid, weights and result rounded to bf16 (the ATen reference
// rounds the scores too).
std::vector<double> attend_row(const AttentionCase& c, AttentionData& data, int b, int row, int head, bool rounded) {
  const int keys = c.key_lengths.empty() ? c.k_length : std::min(c.key_lengths[static_cast<size_t>(b)], c.k_length);
  const int first = head * c.head_dim;
  std::vector<double> scores(static_cast<size_t>(keys)), out(static_cast<size_t>(c.head_dim), 0.0);
  double largest = -1e300, sum = 0;
  for (int key = 0; key < keys; ++key) {
    double& score = scores[static_cast<size_t>(key)];
    for (int i = 0; i < c.head_dim; ++i)
      score += double{from_bf16(data.q.at(b, row, first + i))} * from_bf16(data.k.at(b, key, first + i));
    score /= std::sqrt(c.head_dim);
    largest = std::max(largest, score);
  }
  for (auto& score : scores) sum += score = std::exp(score - largest);
  for (int key = 0; key < keys; ++key) {
    double weight = scores[static_cast<size_t>(key)] / sum;
    if (rounded) weight = from_bf16(to_bf16(static_cast<float>(weight)));
    for (int i = 0; i < c.head_dim; ++i)
      out[static_cast<size_t>(i)] += weight * from_bf16(data.v.at(b, key, first + i));
  }
  if (rounded)
    for (auto& x : out) x = from_bf16(to_bf16(static_cast<float>(x)));
  return out;
}

void expect_right(const AttentionCase& c, const RunOptions& options) {
  AttentionData data(c, 11 + options.seed);
  run_attention(c, data, options);
  double error = 0, reference_error = 0;
  for (int b = 0; b < c.batch; ++b)
    for (int row = 0; row < c.q_length; ++row)
      for (int head = 0; head < c.heads; ++head) {
        const auto exact = attend_row(c, data, b, row, head, false), plain = attend_row(c, data, b, row, head, true);
        for (int i = 0; i < c.head_dim; ++i) {
          const double got = from_bf16(data.out.at(b, row, head * c.head_dim + i)),
                       want = exact[static_cast<size_t>(i)];
          ASSERT_TRUE(std::isfinite(got)) << "batch " << b << " row " << row << " head " << head << " column " << i;
          error = std::max(error, std::abs(got - want));
          reference_error = std::max(reference_error, std::abs(plain[static_cast<size_t>(i)] - want));
        }
      }
  EXPECT_LE(error, 2 * reference_error + 1e-6)
      << "head_dim " << c.head_dim << " q " << c.q_length << " k " << c.k_length << " seed " << options.seed;
  // Nothing is written between the rows.
  for (int64_t b = 0; b < data.out.batch; ++b)
    for (int64_t row = 0; row < data.out.rows; ++row)
      for (int64_t i = data.out.columns; i < data.out.row_stride; ++i)
        ASSERT_EQ(data.out.at(b, row, i), 0x7FC0) << "row " << row << " element " << i;
}

class Sm90Attention : public testing::TestWithParam<int> {};

TEST_P(Sm90Attention, OneTile) {
  const int e = GetParam();
  for (const int keys : {1, 7, 8, 15, 16, 17, 100}) expect_right({.head_dim = e, .q_length = 3, .k_length = keys}, {});
}

TEST_P(Sm90Attention, SeveralTilesWithTails) {
  const int e = GetParam(), tile = e == 64 ? 128 : 176;
  uint64_t seed = 1;
  for (const int keys : {tile - 1, tile, tile + 1, 2 * tile, 3 * tile + 9, 5 * tile - 3})
    expect_right({.head_dim = e, .q_length = 65, .k_length = keys, .gap = 8},
                 {.seed = seed++, .order = Order::priorities});
}

TEST_P(Sm90Attention, QueryTails) {
  const int e = GetParam(), tile = e == 64 ? 192 : 128;
  for (const int queries : {1, 63, 64, 65, tile - 1, tile, tile + 1, tile + 64})
    expect_right({.head_dim = e, .q_length = queries, .k_length = 40}, {.seed = 3});
}

TEST_P(Sm90Attention, HeadsBatchesAndStrides) {
  const int e = GetParam();
  expect_right({.head_dim = e, .heads = 3, .batch = 2, .q_length = 70, .k_length = 200, .gap = 2 * 3 * e}, {.seed = 5});
}

TEST_P(Sm90Attention, KeyLengthsHideWhatMayBeNaN) {
  const int e = GetParam();
  expect_right(
      {.head_dim = e, .heads = 1, .batch = 5, .q_length = 20, .k_length = 400, .key_lengths = {400, 1, 0, 177, 129}},
      {.seed = 7});
}

// A length beyond the tensor or below zero is taken as the nearest possible.
TEST_P(Sm90Attention, KeyLengthsAreClamped) {
  const AttentionCase all{.head_dim = GetParam(), .q_length = 5, .k_length = 20};
  auto clamped = all;
  clamped.key_lengths = {1000};
  AttentionData a(all, 1), b(all, 1);
  run_attention(all, a, {});
  run_attention(clamped, b, {});
  EXPECT_EQ(a.out.elements, b.out.elements);
  clamped.key_lengths = {-3};
  run_attention(clamped, b, {});
  for (int64_t i = 0; i < b.out.columns; ++i) EXPECT_EQ(b.out.at(0, 4, i), 0);
}

// Every interleaving gives the same bits: sums are ordered by the code, not by time.
TEST_P(Sm90Attention, BytesDoNotDependOnTiming) {
  const AttentionCase c{.head_dim = GetParam(), .q_length = 130, .k_length = 700};
  AttentionData first(c, 2);
  run_attention(c, first, {.seed = 0});
  for (uint64_t seed = 1; seed < 6; ++seed) {
    AttentionData again(c, 2);
    run_attention(c, again, {.seed = seed, .order = seed % 2 ? Order::priorities : Order::uniform, .pass_chance = 0.2});
    EXPECT_EQ(first.out.elements, again.out.elements) << seed;
  }
}

// A score far above the others, at the end, in the middle, at the start: the running maximum moves, once or never.
TEST_P(Sm90Attention, LargeScores) {
  const int e = GetParam();
  for (const int where : {0, 200, 399}) {
    const AttentionCase c{.head_dim = e, .q_length = 4, .k_length = 400};
    AttentionData data(c, 9);
    for (int i = 0; i < e; ++i) {
      data.k.at(0, where, i) = to_bf16(30);
      for (int row = 0; row < 4; ++row) data.q.at(0, row, i) = to_bf16(30);
    }
    run_attention(c, data, {});
    for (int i = 0; i < e; ++i) EXPECT_EQ(data.out.at(0, 2, i), data.v.at(0, where, i)) << where << " " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(HeadDim, Sm90Attention, testing::Values(64, 128),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace ltxv::test
