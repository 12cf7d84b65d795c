#pragma once
// Attention of one tile of queries of one head, as every thread of a block runs it. `Machine` is the processor: on the
// GPU PTX instructions (machine.cuh), in the tests an emulator that checks what the hardware does not. One warpgroup
// copies keys and values into a ring in shared memory, the others multiply.
//
// Tiles of keys run from the last to the first, so that the only tile with missing keys is met before the loop.
#include "attention/sm90/descriptor.h"
#include "attention/sm90/plan.h"
#include "attention/sm90/softmax.h"

namespace ltxv::ops::gpu::sm90 {

struct Problem {
  int q_length, k_length;
  const int32_t* key_lengths;  ///< [batch] or nullptr: keys that count, at most k_length
  float scale_log2;            ///< the scores' factor times log2(e): softmax is computed with powers of two
};

inline constexpr float kLog2E = 1.44269504088896341f;

enum class Operand { query, key, value, output };

/// Asks for `bytes` of a tile from `row` on, a chunk of 64 columns at a time; they count towards one phase of the
/// barrier.
template <class Plan, class Machine>
LTXV_HD void load_tile(Machine& m, Operand operand, int offset, int barrier, int bytes, int row) {
  m.expect_bytes(barrier, bytes);
  LTXV_UNROLL
  for (int chunk = 0; chunk < Plan::kChunks; ++chunk)
    m.load(operand, offset + chunk * (bytes / Plan::kChunks), barrier, row, m.head() * Plan::kChunks + chunk,
           m.batch());
}

/// The producer, one thread: waits for a free stage, asks for its bytes, goes on.
template <class Plan, class Machine>
LTXV_HD void produce(Machine& m, int tiles) {
  Ring<Plan::kStages> keys, values;
  const auto load_keys = [&](int tile) {
    m.wait(Plan::key_empty(keys.stage), keys.phase ^ 1);  // a fresh barrier counts as freed
    load_tile<Plan>(m, Operand::key, Plan::key_offset(keys.stage), Plan::key_full(keys.stage), Plan::kStageBytes,
                    tile * Plan::kKeyRows);
    keys.advance();
  };
  const auto load_values = [&](int tile) {
    m.wait(Plan::value_empty(values.stage), values.phase ^ 1);
    load_tile<Plan>(m, Operand::value, Plan::value_offset(values.stage), Plan::value_full(values.stage),
                    Plan::kStageBytes, tile * Plan::kKeyRows);
    values.advance();
  };
  load_tile<Plan>(m, Operand::query, Plan::kQueryOffset, Plan::query_full(), Plan::kQueryBytes,
                  m.query_tile() * Plan::kQueryRows);
  // In the order the consumers need them: the keys of the next tile before the values of this one.
  load_keys(tiles - 1);
  for (int tile = tiles - 1; tile > 0; --tile) {
    load_keys(tile - 1);
    load_values(tile);
  }
  load_values(0);
}

/// scores = queries of this warpgroup times the keys of one stage, unscaled.
template <class Plan, class Machine>
LTXV_HD void multiply_keys(Machine& m, float (&scores)[Plan::kScores], int stage) {
  const uint64_t q = row_operand(m.address(Plan::kQueryOffset + m.consumer() * kGroupRows * kRowBytes));
  const uint64_t k = row_operand(m.address(Plan::key_offset(stage)));
  m.wgmma_fence();
  LTXV_UNROLL
  for (int step = 0; step < Plan::kHeadDim / kStepDepth; ++step)
    m.template wgmma_shared<Plan::kKeyRows>(scores, moved(q, row_operand_step(step, Plan::kQueryRows)),
                                            moved(k, row_operand_step(step, Plan::kKeyRows)), step != 0);
  m.wgmma_commit();
}

/// output += weights times the values of one stage.
template <class Plan, class Machine>
LTXV_HD void multiply_values(Machine& m, float (&output)[Plan::kOutputs], uint32_t (&weights)[Plan::kWeights],
                             int stage) {
  const uint64_t v = column_operand(m.address(Plan::value_offset(stage)), Plan::kKeyRows);
  m.wgmma_fence();
  LTXV_UNROLL
  for (int step = 0; step < Plan::kKeyRows / kStepDepth; ++step)
    m.template wgmma_registers<Plan::kHeadDim>(output, weights + 4 * step, moved(v, column_operand_step(step)));
  m.wgmma_commit();
}

/// Each warp says for itself that it is done: the end of a wgmma is known to the warp that waited for it only.
template <class Machine>
LTXV_HD void release(Machine& m, int barrier) {
  m.warp_sync();
  if (m.lane() == 0) m.arrive(barrier);
}

/// Consumers issue their products in turn, one after the other and round again: while one has the matrix unit the
/// others are at their exponentials. The last one opens the first round, and leaves the last one unanswered: no barrier
/// is left half met.
template <class Plan, class Machine>
LTXV_HD void take_turn(Machine& m) {
  m.named_sync(Plan::turn_barrier(m.consumer()), 2 * kGroupThreads);
}
template <class Plan, class Machine>
LTXV_HD void pass_turn(Machine& m, bool last_round) {
  const bool last = m.consumer() == Plan::kConsumers - 1;
  if (!last || !last_round) m.named_arrive(Plan::turn_barrier(last ? 0 : m.consumer() + 1), 2 * kGroupThreads);
}

/// Values of keys that do not count may be anything, NaN too, and zero times NaN is NaN: overwrite them. Values past
/// the end of the tensor need no such care, the copy fills them with zeros.
template <class Plan, class Machine>
LTXV_HD void clear_values(Machine& m, int stage, int first_row) {
  const int thread = m.consumer() * kGroupThreads + m.group_thread();
  constexpr int kPieces = kRowBytes / 16, kConsumerThreads = Plan::kConsumers * kGroupThreads;
  for (int piece = thread; piece < (Plan::kKeyRows - first_row) * kPieces; piece += kConsumerThreads)
    for (int chunk = 0; chunk < Plan::kChunks; ++chunk)
      m.clear_shared(Plan::value_offset(stage) + chunk * Plan::kKeyRows * kRowBytes + first_row * kRowBytes +
                     piece * 16);
  m.async_fence();
  m.named_sync(Plan::kConsumersBarrier, kConsumerThreads);
}

/// Writes the 64 rows of this warpgroup over its queries, which nobody needs any more, and lets the copy engine store
/// them; it leaves out the rows past the end.
template <class Plan, class Machine>
LTXV_HD void store_output(Machine& m, const float (&output)[Plan::kOutputs], const float (&factor)[2], int q_length) {
  const int first_row = m.consumer() * kGroupRows;
  m.named_sync(Plan::group_barrier(m.consumer()), kGroupThreads);  // all four warps have multiplied their last keys
  LTXV_UNROLL
  for (int i = 0; i < Plan::kOutputs; i += 2) {
    const int row = first_row + accumulator_row(m.group_thread(), i), column = accumulator_column(m.group_thread(), i);
    const float f = factor[accumulator_half(i)];
    m.store_shared(Plan::kQueryOffset + swizzled_offset(row, column, Plan::kQueryRows),
                   m.pack(output[i] * f, output[i + 1] * f));
  }
  m.async_fence();
  m.named_sync(Plan::group_barrier(m.consumer()), kGroupThreads);
  const int row = m.query_tile() * Plan::kQueryRows + first_row;
  if (m.group_thread() == 0 && row < q_length) {
    LTXV_UNROLL
    for (int chunk = 0; chunk < Plan::kChunks; ++chunk)
      m.store(Operand::output, Plan::kQueryOffset + chunk * Plan::kQueryRows * kRowBytes + first_row * kRowBytes, row,
              m.head() * Plan::kChunks + chunk, m.batch());
    m.store_wait();
  }
}

/// A consumer: 64 rows of queries against all keys. Scores of one tile are multiplied while the softmax of the tile
/// before waits in registers for its values, so that the matrix unit has work during the exponentials:
///   S(last) | softmax | S(j-1), O += P(j) V(j) together | softmax of S(j-1) under the second | ... | O += P(0) V(0)
template <class Plan, class Machine>
LTXV_HD void consume(Machine& m, const Problem& problem, int key_length, int tiles) {
  float output[Plan::kOutputs] = {};
  Softmax state;
  if (tiles > 0) {
    Ring<Plan::kStages> keys, values;
    uint32_t weights[Plan::kWeights];
    float correction[2];
    m.wait(Plan::query_full(), 0);
    {
      float scores[Plan::kScores];
      m.wait(Plan::key_full(keys.stage), keys.phase);
      multiply_keys<Plan>(m, scores, keys.stage);
      m.template wgmma_wait<0>();
      release(m, Plan::key_empty(keys.stage));
      keys.advance();
      const int valid = valid_keys(key_length, tiles - 1, Plan::kKeyRows);
      if (valid < Plan::kKeyRows) hide_missing_keys(m, scores, valid);
      advance_softmax(m, state, scores, problem.scale_log2, correction);  // nothing to correct yet
      pack_weights(m, weights, scores);
      if (valid < Plan::kKeyRows && key_length < problem.k_length) {
        m.wait(Plan::value_full(values.stage), values.phase);
        clear_values<Plan>(m, values.stage, valid);
      }
    }
    if (tiles > 1 && m.consumer() == Plan::kConsumers - 1) pass_turn<Plan>(m, false);
    for (int tile = tiles - 1; tile > 0; --tile) {
      float scores[Plan::kScores];
      m.wait(Plan::key_full(keys.stage), keys.phase);
      take_turn<Plan>(m);
      multiply_keys<Plan>(m, scores, keys.stage);
      m.wait(Plan::value_full(values.stage), values.phase);
      multiply_values<Plan>(m, output, weights, values.stage);
      pass_turn<Plan>(m, tile == 1);
      m.template wgmma_wait<1>();
      release(m, Plan::key_empty(keys.stage));
      keys.advance();
      advance_softmax(m, state, scores, problem.scale_log2, correction);
      m.compute_now(state.sum[0] < state.sum[1] ? state.sum[0] : state.sum[1]);
      m.template wgmma_wait<0>();
      release(m, Plan::value_empty(values.stage));
      values.advance();
      rescale(output, correction);
      pack_weights(m, weights, scores);
    }
    m.wait(Plan::value_full(values.stage), values.phase);
    multiply_values<Plan>(m, output, weights, values.stage);
    m.template wgmma_wait<0>();
  }
  float factor[2];
  finish_softmax(m, state, tiles > 0, factor);
  store_output<Plan>(m, output, factor, problem.q_length);
}

/// Sets up the barriers and sends each warpgroup to its work.
template <class Plan, class Machine>
LTXV_HD void attend(Machine& m, const Problem& problem) {
  if (m.thread() == 0) {
    m.prefetch_maps();
    m.init_barrier(Plan::query_full(), 1);
    for (int stage = 0; stage < Plan::kStages; ++stage) {
      m.init_barrier(Plan::key_full(stage), 1);
      m.init_barrier(Plan::value_full(stage), 1);
      m.init_barrier(Plan::key_empty(stage), Plan::kConsumerWarps);
      m.init_barrier(Plan::value_empty(stage), Plan::kConsumerWarps);
    }
    m.init_fence();
  }
  int key_length = problem.k_length;
  if (problem.key_lengths != nullptr) {
    const int wanted = m.load_length(problem.key_lengths + m.batch());
    key_length = wanted < 0 ? 0 : wanted < key_length ? wanted : key_length;
  }
  const int tiles = tiles_for(key_length, Plan::kKeyRows);
  m.block_sync();
  if (m.is_producer()) {
    m.template give_registers<Plan::kProducerRegisters>();
    if (m.group_thread() == 0 && tiles > 0) produce<Plan>(m, tiles);
  } else {
    m.template take_registers<Plan::kConsumerRegisters>();
    consume<Plan>(m, problem, key_length, tiles);
  }
}

}  // namespace ltxv::ops::gpu::sm90
