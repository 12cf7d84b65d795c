// The bodies of the eight-bit attention, run thread by thread in the emulator against f64.
#include "kernels/int8_problem.h"

namespace ltxv {
namespace {

using namespace ops::gpu;
using namespace test::int8;

// Codes of 127 steps on rows of 64 normal values (largest about 2.5): a score is off by about 0.01; e4m3 by 2.6 % of each value and weight,
// averaged over the keys. A single key keeps the 2.6 % of its value.
constexpr double kRelative = 0.06;

template <class Shape>
void expect_right(const Case& c, uint32_t seed) {
  Problem<Shape> problem(c, seed);
  test::Counts counts;
  ASSERT_EQ(problem.run(seed, {}, &counts), "") << c.queries << " by " << c.keys << " head width " << Shape::kHeadDim;
  const Errors errors = errors_of(problem);
  EXPECT_LE(errors.beyond, 1) << c.queries << " by " << c.keys << " head width " << Shape::kHeadDim;
  EXPECT_LE(errors.relative, kRelative) << c.queries << " by " << c.keys << " head width " << Shape::kHeadDim;
  EXPECT_EQ(counts.bank_conflicts, 0);
}

const Case kCases[] = {{1, 1, 1, 1},   {1, 1, 5, 31},  {1, 1, 17, 33},       {1, 1, 16, 64},      {1, 2, 7, 65},
                       {1, 1, 129, 40}, {2, 1, 3, 130}, {1, 2, 50, 50, true}, {1, 1, 9, 200, false, 64}, {2, 1, 130, 96}};

TEST(Int8AttentionEmulated, EqualsTheFormulaInF64ForOddSizesAndStrides) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 40;
  for (const Case& c : kCases) {
    expect_right<Int8Shape64>(c, ++seed);
    expect_right<Int8Shape128>(c, ++seed);
  }
}

TEST(Int8AttentionEmulated, TheOrderOfWarpsDoesNotMatter) {
  LTXV_NEEDS_FIBERS();
  std::vector<Words4> first;
  for (uint32_t order = 1; order <= 6; ++order) {
    Problem<Int8Shape64> problem({1, 1, 20, 150}, 7);
    ASSERT_EQ(problem.run(order), "");
    if (first.empty()) first = problem.out.storage;
    EXPECT_EQ(std::memcmp(first.data(), problem.out.storage.data(), problem.out.bytes()), 0) << order;
  }
}

TEST(Int8AttentionEmulated, NanAndInfinityReachTheOutput) {
  LTXV_NEEDS_FIBERS();
  for (int32_t which = 0; which < 3; ++which)
    for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Problem<Int8Shape64> problem({1, 1, 3, 70}, 5);
      Matrix* const matrix = which == 0 ? &problem.q : which == 1 ? &problem.k : &problem.v;
      matrix->data()[64 + 9] = static_cast<uint16_t>(bf16_bits(odd));  // token 1, channel 9
      ASSERT_EQ(problem.run(1), "");
      const auto finite = [&](int64_t row, int64_t channel) { return std::isfinite(bf16_low(problem.out.data()[row * 64 + channel])); };
      EXPECT_FALSE(finite(1, 9)) << which;
      EXPECT_TRUE(which != 0 || (finite(0, 9) && finite(2, 9)));   // other queries
      EXPECT_TRUE(which != 2 || (finite(0, 8) && finite(1, 10)));  // other channels
    }
}

TEST(Int8AttentionEmulated, QueriesAndKeysOfZerosGiveTheMeanOfTheValues) {
  LTXV_NEEDS_FIBERS();
  Problem<Int8Shape64> problem({1, 1, 2, 70}, 5);
  std::fill_n(problem.q.data(), problem.q.bytes() / 2, uint16_t{0});
  std::fill_n(problem.k.data(), problem.k.bytes() / 2, uint16_t{0});
  ASSERT_EQ(problem.run(1), "");
  EXPECT_LE(errors_of(problem).beyond, 1);
}

// Each barrier and each wait is needed, and its absence is seen.
TEST(Int8AttentionEmulated, NoBarrierCanBeLeftOut) {
  LTXV_NEEDS_FIBERS();
  using Small = Problem<Int8Shape128>;
  const auto run_without = [](const Small::Dropped& dropped) {
    for (uint32_t order = 1; order <= 8; ++order) {
      Small problem({1, 1, 128, 3 * Int8Shape128::kBlockN}, 3);
      const auto found = problem.run(order, dropped);
      if (!found.empty()) return found;
    }
    return std::string();
  };
  EXPECT_EQ(run_without({}), "");
  EXPECT_NE(run_without({.launch = 0, .sync = 0}), "");
  EXPECT_NE(run_without({.launch = 1, .sync = 0}), "");
  for (int32_t i = 0; i < 6; ++i) {
    EXPECT_NE(run_without({.sync = i}), "") << "sync " << i;
    EXPECT_NE(run_without({.wait = i}), "") << "wait " << i;
  }
  EXPECT_NE(run_without({.sync = 6}), "") << "the sync in front of the output";
}

TEST(Int8AttentionEmulated, UsesEveryProductOnce) {
  LTXV_NEEDS_FIBERS();
  Problem<Int8Shape64> problem({1, 1, 128, 128}, 3);
  test::Counts counts;
  ASSERT_EQ(problem.run(1, {}, &counts), "");
  // 2 N M E multiply-adds in pieces of 16 x 8 x 32; q, k and v once, 16 bytes each.
  EXPECT_EQ(counts.multiplies, 2 * 128 * 128 * 64 / (16 * 8 * 32));
  EXPECT_EQ(counts.copies, 3 * 128 * 64 / 16);
}

}  // namespace
}  // namespace ltxv
