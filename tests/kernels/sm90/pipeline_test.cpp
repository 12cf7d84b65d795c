// Producer and consumers under thousands of interleavings, and the same with one thing broken each time: the checks
// must find it.
#include <gtest/gtest.h>

#include <set>

#include "kernels/sm90/emulated_attention.h"

namespace ltxv::test {
namespace {

using namespace ops::gpu::sm90;

// The protocol does not depend on how many keys a tile has: tiles of 16 allow many more runs.
template <int kWidth>
struct SmallChoice : Choice<kWidth> {
  static constexpr int kKeyRows = 16;
};
template <int kWidth>
using SmallPlan = Plan<kWidth, SmallChoice<kWidth>>;

template <class P>
AttentionCase case_of(uint64_t seed) {
  const int tiles = 1 + static_cast<int>(seed % 7);
  AttentionCase c{.head_dim = P::kHeadDim, .q_length = 40, .k_length = tiles * P::kKeyRows};
  if (seed % 3 == 1) c.k_length -= 5;                   // the last tile has a tail
  if (seed % 5 == 2) c.key_lengths = {c.k_length - 9};  // and values to overwrite
  return c;
}

RunOptions options_of(uint64_t seed) {
  return {.seed = seed,
          .order = seed % 2 ? Order::priorities : Order::uniform,
          .detail = Detail::checks_only,
          .pass_chance = 0.4};
}

template <class P>
struct Sm90Pipeline : testing::Test {};
using Plans = testing::Types<SmallPlan<64>, SmallPlan<128>, Plan<64>, Plan<128>>;
TYPED_TEST_SUITE(Sm90Pipeline, Plans);

// No interleaving hangs, overwrites a tile in use, reads one that is not there or in another order than from the last
// to the first.
TYPED_TEST(Sm90Pipeline, HoldsUnderEveryInterleaving) {
  constexpr int kTile = TypeParam::kKeyRows;
  const uint64_t runs = kTile == 16 ? 2000 : 100;
  for (uint64_t seed = 0; seed < runs; ++seed) {
    const auto c = case_of<TypeParam>(seed);
    AttentionData data(c, 1);
    std::vector<int> rows;
    const int keys = c.key_lengths.empty() ? c.k_length : c.key_lengths[0];
    for (int t = tiles_for(keys, kTile) - 1; t >= 0; --t) rows.push_back(t * kTile);
    const auto check = [&](HopperBlock& block, EmulatedMachine::Place) {
      for (int warp = kGroupWarps; warp < kGroupWarps + TypeParam::kConsumerWarps; ++warp) {
        ASSERT_EQ(block.tiles_read(Operand::key, warp), rows) << "seed " << seed << " warp " << warp;
        ASSERT_EQ(block.tiles_read(Operand::value, warp), rows) << "seed " << seed << " warp " << warp;
      }
    };
    ASSERT_NO_THROW(run_blocks<TypeParam>(c, data, options_of(seed), check)) << "seed " << seed;
  }
}

// ---- one thing broken each time ----

enum class Fault {
  none,
  query_full_not_awaited,
  key_full_not_awaited,
  value_full_not_awaited,
  key_empty_not_awaited,
  value_empty_not_awaited,
  key_full_phase,
  value_full_phase,
  key_empty_phase,
  value_empty_phase,
  one_warp_releases_for_all,
  released_twice,
  products_not_awaited,
  no_wgmma_fence,
  no_async_fence,
  groups_do_not_meet,
  store_not_awaited,
  turns_not_taken,
  turns_not_passed,
  bytes_not_announced,
  wrong_bytes,
  key_stride,
  value_stride,
  value_leading,
  no_swizzle,
  last
};

template <class P, Fault kFault>
class BrokenMachine : public EmulatedMachine {
 public:
  using EmulatedMachine::EmulatedMachine;
  static bool in(int barrier, int first) { return barrier >= first && barrier < first + P::kStages; }

  void wait(int barrier, uint32_t phase) {
    const bool key_full = in(barrier, P::key_full(0)), value_full = in(barrier, P::value_full(0));
    const bool key_empty = in(barrier, P::key_empty(0)), value_empty = in(barrier, P::value_empty(0));
    if ((kFault == Fault::query_full_not_awaited && barrier == P::query_full()) ||
        (kFault == Fault::key_full_not_awaited && key_full) ||
        (kFault == Fault::value_full_not_awaited && value_full) ||
        (kFault == Fault::key_empty_not_awaited && key_empty) ||
        (kFault == Fault::value_empty_not_awaited && value_empty))
      return;
    const bool flip =
        (kFault == Fault::key_full_phase && key_full) || (kFault == Fault::value_full_phase && value_full) ||
        (kFault == Fault::key_empty_phase && key_empty) || (kFault == Fault::value_empty_phase && value_empty);
    EmulatedMachine::wait(barrier, flip ? phase ^ 1 : phase);
  }
  void arrive(int barrier) {
    const int times = kFault == Fault::released_twice              ? 2
                      : kFault != Fault::one_warp_releases_for_all ? 1
                      : group_thread() == 0                        ? kGroupWarps
                                                                   : 0;
    for (int i = 0; i < times; ++i) EmulatedMachine::arrive(barrier);
  }
  void expect_bytes(int barrier, int bytes) {
    EmulatedMachine::expect_bytes(barrier, kFault == Fault::bytes_not_announced ? 0
                                           : kFault == Fault::wrong_bytes       ? bytes + 16
                                                                                : bytes);
  }
  template <int kPending>
  void wgmma_wait() {
    if (kFault != Fault::products_not_awaited) EmulatedMachine::wgmma_wait<kPending>();
  }
  void wgmma_fence() {
    if (kFault != Fault::no_wgmma_fence) EmulatedMachine::wgmma_fence();
  }
  void async_fence() {
    if (kFault != Fault::no_async_fence) EmulatedMachine::async_fence();
  }
  void named_sync(int barrier, int threads) {
    const bool turn = barrier >= P::turn_barrier(0);
    if (kFault == Fault::groups_do_not_meet && threads == kGroupThreads) return;
    if (kFault == Fault::turns_not_taken && turn) return;
    EmulatedMachine::named_sync(barrier, threads);
  }
  void named_arrive(int barrier, int threads) {
    if (kFault != Fault::turns_not_passed) EmulatedMachine::named_arrive(barrier, threads);
  }
  void store_wait() {
    if (kFault != Fault::store_not_awaited) EmulatedMachine::store_wait();
  }
  template <int kColumns>
  void wgmma_shared(float (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) {
    if (kFault == Fault::key_stride) b ^= uint64_t{3} << 37;  // 1024 becomes 2048 + …
    if (kFault == Fault::no_swizzle) b &= ~(uint64_t{3} << 62);
    EmulatedMachine::wgmma_shared<kColumns>(d, a, b, accumulate);
  }
  template <int kColumns>
  void wgmma_registers(float (&d)[kColumns / 2], const uint32_t* a, uint64_t b) {
    if (kFault == Fault::value_stride) b ^= uint64_t{3} << 37;
    if (kFault == Fault::value_leading) b ^= uint64_t{1} << 23;
    EmulatedMachine::wgmma_registers<kColumns>(d, a, b);
  }
};

// Of `runs` interleavings, how many the checks or a comparison of the output with the right one reject.
template <class P, Fault kFault>
int rejected(Detail detail, uint64_t runs) {
  int count = 0;
  for (uint64_t seed = 0; seed < runs; ++seed) {
    auto options = options_of(seed);
    options.detail = detail;
    const auto c = case_of<P>(seed + 3);
    AttentionData right(c, seed), broken(c, seed);
    if (detail == Detail::full) run_blocks<P>(c, right, options);
    try {
      run_blocks<P, BrokenMachine<P, kFault>>(c, broken, options);
      count += detail == Detail::full && right.out.elements != broken.out.elements;
    } catch (const std::runtime_error&) {
      ++count;
    }
  }
  return count;
}

template <class P, int kFault>
void expect_found() {
  if constexpr (kFault < static_cast<int>(Fault::last)) {
    constexpr auto kThis = static_cast<Fault>(kFault);
    // Wrong numbers show in the output, which takes all lanes to compute.
    constexpr bool kNumbers = kThis >= Fault::key_stride;
    const int found = rejected<P, kThis>(kNumbers ? Detail::full : Detail::checks_only, kNumbers ? 3 : 60);
    const bool harmless = kThis == Fault::none || (kThis == Fault::value_leading && P::kChunks == 1);
    EXPECT_EQ(found != 0, !harmless) << "fault " << kFault << ": " << found << " runs rejected";
    expect_found<P, kFault + 1>();
  }
}

TEST(Sm90Faults, EachIsFound64) { expect_found<SmallPlan<64>, 0>(); }
TEST(Sm90Faults, EachIsFound128) { expect_found<SmallPlan<128>, 0>(); }

// What the checks say: the right thing, not just anything.
template <class P, Fault kFault>
std::set<std::string> complaints() {
  std::set<std::string> said;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const auto c = case_of<P>(seed + 3);
    AttentionData data(c, seed);
    try {
      run_blocks<P, BrokenMachine<P, kFault>>(c, data, options_of(seed));
    } catch (const std::runtime_error& error) {
      const std::string text = error.what();
      for (const char* part : {"overwrites a tile in use", "not full", "deadlock", "without a fence",
                               "without wgmma.fence", "still reads for it", "more arrivals"})
        if (text.find(part) != std::string::npos) said.insert(part);
    }
  }
  return said;
}

TEST(Sm90Faults, AreNamed) {
  using P = SmallPlan<64>;
  EXPECT_TRUE((complaints<P, Fault::key_empty_not_awaited>().count("overwrites a tile in use")));
  EXPECT_TRUE((complaints<P, Fault::one_warp_releases_for_all>().count("overwrites a tile in use")));
  EXPECT_TRUE((complaints<P, Fault::value_full_not_awaited>().count("not full")));
  EXPECT_TRUE((complaints<P, Fault::value_full_phase>().count("not full")));
  EXPECT_TRUE((complaints<P, Fault::key_empty_phase>().count("deadlock")));
  EXPECT_TRUE((complaints<P, Fault::wrong_bytes>().count("deadlock")));
  EXPECT_TRUE((complaints<P, Fault::no_async_fence>().count("without a fence")));
  EXPECT_TRUE((complaints<P, Fault::store_not_awaited>().count("still reads for it")));
}

}  // namespace
}  // namespace ltxv::test
