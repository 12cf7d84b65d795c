#pragma once
// The whole kernel on the emulator: all blocks of a small attention problem.
#include <string>

#include "kernels/sm90/emulated_machine.h"

namespace ltxv::test {

/// A tensor [batch, rows, heads * width] of bf16 inside a larger one: rows are `row_stride` elements apart, as in a
/// packed [.., 3 D] projection, and batches `batch_stride`.
struct Bf16Tensor {
  int64_t batch = 1, rows = 1, columns = 1, row_stride = 1, batch_stride = 1;
  std::vector<uint16_t> elements;

  Bf16Tensor(int64_t batch, int64_t rows, int64_t columns, int64_t gap);
  uint16_t& at(int64_t b, int64_t row, int64_t column) { return elements[offset(b, row, column)]; }
  size_t offset(int64_t b, int64_t row, int64_t column) const {
    return static_cast<size_t>(b * batch_stride + row * row_stride + column);
  }
  ops::gpu::sm90::TensorLayout layout() const {
    return {elements.data(), batch, rows, columns, batch_stride, row_stride};
  }
};

struct AttentionCase {
  int head_dim = 64, heads = 1, batch = 1, q_length = 1, k_length = 1;
  std::vector<int32_t> key_lengths = {};  ///< empty: all keys count
  int64_t gap = 0;                        ///< unused elements between rows
};

struct AttentionData {
  Bf16Tensor q, k, v, out;
  AttentionData(const AttentionCase& c, uint64_t seed);
};

/// How a run goes, and what to do differently from HopperBlock::Setup's defaults.
struct RunOptions {
  uint64_t seed = 0;
  Order order = Order::uniform;
  Detail detail = Detail::full;
  double pass_chance = 0.02;
};

/// Sees each block when it has ended.
using AfterBlock = std::function<void(HopperBlock&, EmulatedMachine::Place)>;

/// Runs every block. Throws what the emulator finds wrong. `Machine` may stand in for the emulated one, with one thing
/// broken.
template <class Plan, class Machine = EmulatedMachine>
void run_blocks(const AttentionCase& c, AttentionData& data, const RunOptions& options, const AfterBlock& after = {}) {
  HopperBlock::Setup setup;
  setup.maps = {{ops::gpu::sm90::Operand::query, tensor_map(data.q.layout(), Plan::kQueryRows)},
                {ops::gpu::sm90::Operand::key, tensor_map(data.k.layout(), Plan::kKeyRows)},
                {ops::gpu::sm90::Operand::value, tensor_map(data.v.layout(), Plan::kKeyRows)},
                {ops::gpu::sm90::Operand::output, tensor_map(data.out.layout(), ops::gpu::sm90::kGroupRows)}};
  setup.shared_bytes = Plan::kSharedBytes;
  setup.warps = Plan::kThreads / ops::gpu::kWarpSize;
  setup.order = options.order, setup.detail = options.detail, setup.pass_chance = options.pass_chance;
  setup.seed = options.seed;
  const ops::gpu::sm90::Problem problem{c.q_length, c.k_length, c.key_lengths.empty() ? nullptr : c.key_lengths.data(),
                                        static_cast<float>(1.4426950408889634 / std::sqrt(c.head_dim))};
  for (int batch = 0; batch < c.batch; ++batch)
    for (int head = 0; head < c.heads; ++head)
      for (int tile = 0; tile < ops::gpu::sm90::tiles_for(c.q_length, Plan::kQueryRows); ++tile) {
        setup.seed = setup.seed * 6364136223846793005u + 1;
        const EmulatedMachine::Place place{tile, head, batch};
        HopperBlock block(setup);
        block.run([&](int thread) {
          Machine machine(block, thread, Plan::kThreads, place);
          ops::gpu::sm90::attend<Plan>(machine, problem);
        });
        if (after) after(block, place);
      }
}

/// The same with the plan of the case's head_dim.
void run_attention(const AttentionCase& c, AttentionData& data, const RunOptions& options,
                   const AfterBlock& after = {});

}  // namespace ltxv::test
