// The eight-bit attention for Hopper on the emulated block: codes as the emulated kernels made them, against f64.
#include "kernels/int8_problem.h"
#include "kernels/sm90/emulated_attention.h"

#include "attention_int8/sm90/body.h"

namespace ltxv::test {
namespace {

using namespace ops::gpu::sm90;
using Int8 = int8::Problem<ops::gpu::Int8Shape128>;

template <class Machine = EmulatedMachine>
void run_blocks(Int8& problem, const RunOptions& options, const AfterBlock& after = {}) {
  const auto& c = problem.c;
  const auto& a = problem.launch.attention;
  const int64_t pairs = static_cast<int64_t>(c.batch) * c.heads;
  const auto codes = int8_layouts(problem.at, problem.base(), pairs);
  HopperBlock::Setup setup;
  setup.maps = {{Operand::query, tensor_map(codes.query, Int8Plan::kQueryRows)},
                {Operand::key, tensor_map(codes.key, Int8Plan::kKeyRows)},
                {Operand::value, tensor_map(codes.value, Int8Plan::kHeadDim)},
                {Operand::output, tensor_map({a.out, c.batch, c.queries, int64_t{c.heads} * 128, a.out_batch_stride, a.out_row_stride}, kGroupRows)}};
  setup.shared_bytes = Int8Plan::kSharedBytes;
  setup.warps = Int8Plan::kThreads / ops::gpu::kWarpSize;
  setup.order = options.order, setup.detail = options.detail, setup.pass_chance = options.pass_chance, setup.seed = options.seed;
  const auto floats = [&](int64_t offset) { return reinterpret_cast<const float*>(problem.base() + offset); };
  const Int8Problem numbers{c.queries, c.keys, c.heads, problem.at.query_rows, problem.at.key_rows, floats(problem.at.q_scales),
                            floats(problem.at.k_scales), floats(problem.at.v_scales)};
  for (int batch = 0; batch < c.batch; ++batch)
    for (int head = 0; head < c.heads; ++head)
      for (int tile = 0; tile < tiles_for(c.queries, Int8Plan::kQueryRows); ++tile) {
        setup.seed = setup.seed * 6364136223846793005u + 1;
        const EmulatedMachine::Place place{tile, head, batch};
        HopperBlock block(setup);
        block.run([&](int thread) {
          Machine machine(block, thread, Int8Plan::kThreads, place);
          attend_int8(machine, numbers);
        });
        if (after) after(block, place);
      }
}

void expect_right(const int8::Case& c, const RunOptions& options) {
  Int8 problem(c, static_cast<uint32_t>(options.seed) + 3);
  ASSERT_EQ(problem.make_codes(1), "");
  run_blocks(problem, options);
  const auto errors = int8::errors_of(problem);
  EXPECT_LE(errors.beyond, 1) << c.queries << " by " << c.keys;
  EXPECT_LE(errors.relative, 0.06) << c.queries << " by " << c.keys;
}

TEST(Sm90Int8Attention, EqualsTheFormulaInF64ForOddSizesAndStrides) {
  LTXV_NEEDS_FIBERS();
  uint64_t seed = 1;
  for (const int8::Case& c : {int8::Case{1, 1, 1, 1}, {1, 1, 5, 31}, {1, 1, 17, 63}, {1, 1, 16, 64}, {1, 2, 7, 65}, {1, 1, 129, 127}, {1, 1, 65, 128},
                              {1, 1, 3, 129}, {2, 1, 3, 130}, {1, 2, 70, 70, true}, {1, 1, 9, 200, false, 64}, {2, 2, 130, 390}})
    expect_right(c, {.seed = seed++, .order = seed % 2 ? Order::priorities : Order::uniform});
}

TEST(Sm90Int8Attention, BytesDoNotDependOnTiming) {
  LTXV_NEEDS_FIBERS();
  std::vector<ops::gpu::Words4> first;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Int8 problem({1, 1, 130, 700}, 2);
    ASSERT_EQ(problem.make_codes(1), "");
    run_blocks(problem, {.seed = seed, .order = seed % 2 ? Order::priorities : Order::uniform, .pass_chance = 0.2});
    if (first.empty()) first = problem.out.storage;
    EXPECT_EQ(std::memcmp(first.data(), problem.out.storage.data(), problem.out.bytes()), 0) << seed;
  }
}

// No interleaving hangs, overwrites a tile in use or reads one that is not there.
TEST(Sm90Int8Attention, HoldsUnderManyInterleavings) {
  LTXV_NEEDS_FIBERS();
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Int8 problem({1, 1, 40, static_cast<int32_t>(1 + seed % 7) * 128 - (seed % 3 == 1 ? 5 : 0)}, 1);
    ASSERT_NO_THROW(run_blocks(problem, {.seed = seed, .order = seed % 2 ? Order::priorities : Order::uniform, .detail = Detail::checks_only, .pass_chance = 0.4}))
        << seed;
  }
}

// One thing broken each time; `kFault` is which.
enum class Fault { no_fence, wrong_value_step, no_release, no_query_wait, no_value_wait, no_product_wait };
template <Fault kFault>
struct Broken : EmulatedMachine {
  using EmulatedMachine::EmulatedMachine;
  void wgmma_fence() {
    if (kFault != Fault::no_fence) EmulatedMachine::wgmma_fence();
  }
  void wgmma_e4m3(float (&d)[64], const uint32_t* a, uint64_t b, bool accumulate) {
    EmulatedMachine::wgmma_e4m3(d, a, kFault == Fault::wrong_value_step ? b + 1 : b, accumulate);
  }
  void arrive(int barrier) {
    if (kFault != Fault::no_release) EmulatedMachine::arrive(barrier);
  }
  void wait(int barrier, uint32_t phase) {
    if (kFault == Fault::no_query_wait && barrier == Int8Plan::query_full()) return;
    for (int stage = 0; stage < Int8Plan::kStages; ++stage)
      if (kFault == Fault::no_value_wait && barrier == Int8Plan::value_full(stage)) return;
    EmulatedMachine::wait(barrier, phase);
  }
  template <int kPending>
  void wgmma_wait() {
    if (kFault != Fault::no_product_wait) EmulatedMachine::wgmma_wait<kPending>();
  }
};

template <Fault kFault>
bool is_seen() {
  Int8 problem({1, 1, 70, 900}, 4);  // more tiles than stages
  if (!problem.make_codes(1).empty()) return false;
  try {
    for (uint64_t seed = 0; seed < 300; ++seed)
      run_blocks<Broken<kFault>>(problem, {.seed = seed, .order = seed % 2 ? Order::priorities : Order::uniform, .detail = Detail::checks_only, .pass_chance = 0.4});
    run_blocks<Broken<kFault>>(problem, {.seed = 1});  // with numbers
  } catch (const std::exception&) {
    return true;
  }
  return !(int8::errors_of(problem).beyond <= 1);
}

TEST(Sm90Int8Attention, WhatIsBrokenIsSeen) {
  LTXV_NEEDS_FIBERS();
  EXPECT_TRUE(is_seen<Fault::no_fence>());
  EXPECT_TRUE(is_seen<Fault::wrong_value_step>());
  EXPECT_TRUE(is_seen<Fault::no_release>());
  EXPECT_TRUE(is_seen<Fault::no_query_wait>());
  EXPECT_TRUE(is_seen<Fault::no_value_wait>());
  EXPECT_TRUE(is_seen<Fault::no_product_wait>());
}

}  // namespace
}  // namespace ltxv::test
