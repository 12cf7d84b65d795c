#pragma once
// The eight-bit attention of one tile of queries of one head of 128, as every thread of a block runs it on Hopper: attention/sm90/body.h
// with int8 scores and e4m3 weights and values. Codes come from attention_int8/quantise.h.
#include "attention/sm90/body.h"
#include "attention_int8/sm90/plan.h"
#include "cuda/numbers.h"

namespace ltxv::ops::gpu::sm90 {

struct Int8Problem {
  int q_length, k_length, heads;
  int64_t query_rows, key_rows;  ///< padded, of one head
  const float *q_scales, *k_scales, *v_scales;
};

template <class Machine>
LTXV_HD void produce_int8(Machine& m, const Int8Problem& problem, int tiles) {
  using P = Int8Plan;
  const int pair = m.batch() * problem.heads + m.head();
  Ring<P::kStages> keys, values;
  const auto load = [&](Operand operand, int offset, int barrier, int row, int chunk) {
    m.expect_bytes(barrier, P::kStageBytes);
    m.load(operand, offset, barrier, row, chunk, pair);
  };
  const auto load_keys = [&](int tile) {
    m.wait(P::key_empty(keys.stage), keys.phase ^ 1);  // a fresh barrier counts as freed
    load(Operand::key, P::key_offset(keys.stage), P::key_full(keys.stage), tile * P::kKeyRows, 0);
    keys.advance();
  };
  const auto load_values = [&](int tile) {
    m.wait(P::value_empty(values.stage), values.phase ^ 1);
    load(Operand::value, P::value_offset(values.stage), P::value_full(values.stage), 0, tile);  // rows are channels
    values.advance();
  };
  static_assert(P::kQueryBytes == P::kStageBytes);
  load(Operand::query, P::kQueryOffset, P::query_full(), m.query_tile() * P::kQueryRows, 0);
  load_keys(tiles - 1);
  for (int tile = tiles - 1; tile > 0; --tile) {
    load_keys(tile - 1);
    load_values(tile);
  }
  load_values(0);
}

template <class Machine>
LTXV_HD void multiply_int8_keys(Machine& m, uint32_t (&scores)[Int8Plan::kScores], int stage) {
  using P = Int8Plan;
  const uint64_t q = row_operand(m.address(P::kQueryOffset + m.consumer() * kGroupRows * kRowBytes));
  const uint64_t k = row_operand(m.address(P::key_offset(stage)));
  LTXV_UNROLL
  for (int i = 0; i < P::kScores; ++i) scores[i] = kInt8BiasBits;
  m.wgmma_fence();
  LTXV_UNROLL
  for (int step = 0; step < P::kSteps; ++step)
    m.wgmma_int8(scores, moved(q, static_cast<uint32_t>(step * P::kStepBytes)), moved(k, static_cast<uint32_t>(step * P::kStepBytes)));
  m.wgmma_commit();
}

/// A tile's products alone: the hardware's sums of fp8 products keep fewer bits than f32, so the running output is not among them.
template <class Machine>
LTXV_HD void multiply_e4m3_values(Machine& m, float (&sums)[Int8Plan::kOutputs], uint32_t (&weights)[Int8Plan::kWeights], int stage) {
  using P = Int8Plan;
  const uint64_t v = row_operand(m.address(P::value_offset(stage)));
  m.wgmma_fence();
  LTXV_UNROLL
  for (int step = 0; step < P::kSteps; ++step)
    m.wgmma_e4m3(sums, weights + 4 * step, moved(v, static_cast<uint32_t>(step * P::kStepBytes)), step != 0);
  m.wgmma_commit();
}

/// Largest score so far of this thread's two rows, in powers of two, and its part of the sums of weights.
struct Int8Softmax {
  float largest[2] = {kMinusInfinity, kMinusInfinity};
  float sum[2] = {0, 0};
};

/// Scores from `valid` on become minus infinity. A tile has at least one key that counts.
template <class Machine>
LTXV_HD void hide_missing_int8(Machine& m, uint32_t (&scores)[Int8Plan::kScores], int valid) {
  LTXV_UNROLL
  for (int i = 0; i < Int8Plan::kScores; ++i)
    if (accumulator_column(m.group_thread(), i) >= valid) scores[i] = 0xff800000u;
}

/// Sums of codes become weights, and `correction` what the output so far has to shrink by. Scales: of this thread's rows, of either half of
/// the tile.
template <class Machine>
LTXV_HD void advance_int8(Machine& m, Int8Softmax& state, const uint32_t (&scores)[Int8Plan::kScores], const float (&row_scale)[2],
                          const float (&key_scale)[2], float (&s)[Int8Plan::kScores], float (&correction)[2]) {
  constexpr int kHalfTile = Int8Plan::kScores / 2;  // accumulators of 64 keys
  float largest[2][2] = {{kMinusInfinity, kMinusInfinity}, {kMinusInfinity, kMinusInfinity}};  // of a row, of a half of the tile
  LTXV_UNROLL
  for (int i = 0; i < Int8Plan::kScores; ++i) {
    s[i] = float_from_bits(scores[i]) - kInt8Bias;
    float& so_far = largest[accumulator_half(i)][i / kHalfTile];
    so_far = m.larger(so_far, s[i]);
  }
  float offset[2], factor[2][2];
  LTXV_UNROLL
  for (int row = 0; row < 2; ++row) {
    LTXV_UNROLL
    for (int half = 0; half < 2; ++half) factor[row][half] = row_scale[row] * key_scale[half];  // above zero
    const float in_tile = m.quad_largest(m.larger(largest[row][0] * factor[row][0], largest[row][1] * factor[row][1]));
    const float now = m.larger(state.largest[row], in_tile);
    correction[row] = m.power_of_two(state.largest[row] - now);
    state.largest[row] = now;
    offset[row] = now - kInt8WeightExponent;
  }
  float sum[2] = {state.sum[0] * correction[0], state.sum[1] * correction[1]};
  LTXV_UNROLL
  for (int i = 0; i < Int8Plan::kScores; ++i) {
    const int row = accumulator_half(i);
    s[i] = m.power_of_two(s[i] * factor[row][i / kHalfTile] - offset[row]);
    sum[row] += s[i];
  }
  state.sum[0] = sum[0], state.sum[1] = sum[1];
}

/// Weights as the left operand of the next product: 32 keys are four groups of eight columns, and key_at puts the values' tokens where
/// these codes are.
template <class Machine>
LTXV_HD void pack_int8_weights(Machine& m, uint32_t (&weights)[Int8Plan::kWeights], const float (&s)[Int8Plan::kScores]) {
  LTXV_UNROLL
  for (int i = 0; i < Int8Plan::kWeights; ++i) {
    const int first = i / 4 * 16 + i % 4 / 2 * 8 + i % 2 * 2;  // step, chunk, row
    weights[i] = m.pack_e4m3(s[first], s[first + 1], s[first + 4], s[first + 5]);
  }
}

template <class Machine>
LTXV_HD void store_int8_output(Machine& m, const Int8Problem& problem, const float (&output)[Int8Plan::kOutputs], const float (&factor)[2]) {
  using P = Int8Plan;
  const int first_row = m.consumer() * kGroupRows;
  const float* scales = problem.v_scales + static_cast<int64_t>(m.batch() * problem.heads + m.head()) * P::kHeadDim;
  LTXV_UNROLL
  for (int i = 0; i < P::kOutputs; i += 2) {
    const int row = first_row + accumulator_row(m.group_thread(), i), column = accumulator_column(m.group_thread(), i);
    const float f = factor[accumulator_half(i)];
    m.store_shared(P::kOutOffset + swizzled_offset(row, column, P::kQueryRows),
                   m.pack(output[i] * f * m.load_scale(scales + column), output[i + 1] * f * m.load_scale(scales + column + 1)));
  }
  m.async_fence();
  m.named_sync(P::group_barrier(m.consumer()), kGroupThreads);
  const int row = m.query_tile() * P::kQueryRows + first_row;
  if (m.group_thread() == 0 && row < problem.q_length) {
    LTXV_UNROLL
    for (int chunk = 0; chunk < 2; ++chunk)
      m.store(Operand::output, P::kOutOffset + chunk * P::kQueryRows * kRowBytes + first_row * kRowBytes, row, m.head() * 2 + chunk, m.batch());
    m.store_wait();
  }
}

template <class Machine>
LTXV_HD void consume_int8(Machine& m, const Int8Problem& problem, int tiles) {
  using P = Int8Plan;
  const int64_t pair = static_cast<int64_t>(m.batch()) * problem.heads + m.head();
  const float* tile_scales = problem.k_scales + pair * (problem.key_rows / kInt8KeyTile);
  float row_scale[2];
  LTXV_UNROLL
  for (int half = 0; half < 2; ++half)
    row_scale[half] = m.load_scale(problem.q_scales + pair * problem.query_rows + m.query_tile() * P::kQueryRows + m.consumer() * kGroupRows +
                                   accumulator_row(m.group_thread(), half * 2));
  const auto key_scales = [&](int tile, float (&scales)[2]) {
    scales[0] = m.load_scale(tile_scales + tile * 2), scales[1] = m.load_scale(tile_scales + tile * 2 + 1);
  };

  float output[P::kOutputs] = {}, sums[P::kOutputs];
  Int8Softmax state;
  Ring<P::kStages> keys, values;
  uint32_t weights[P::kWeights];
  float correction[2], key_scale[2];
  const auto add = [&] {
    LTXV_UNROLL
    for (int i = 0; i < P::kOutputs; ++i) output[i] = output[i] * correction[accumulator_half(i)] + sums[i];
  };
  m.wait(P::query_full(), 0);
  {
    uint32_t scores[P::kScores];
    float s[P::kScores];
    m.wait(P::key_full(keys.stage), keys.phase);
    multiply_int8_keys(m, scores, keys.stage);
    key_scales(tiles - 1, key_scale);
    m.template wgmma_wait<0>();
    release(m, P::key_empty(keys.stage));
    keys.advance();
    const int valid = valid_keys(problem.k_length, tiles - 1, P::kKeyRows);
    if (valid < P::kKeyRows) hide_missing_int8(m, scores, valid);
    advance_int8(m, state, scores, row_scale, key_scale, s, correction);
    pack_int8_weights(m, weights, s);
  }
  if (tiles > 1 && m.consumer() == P::kConsumers - 1) pass_turn<P>(m, false);
  for (int tile = tiles - 1; tile > 0; --tile) {
    uint32_t scores[P::kScores];
    m.wait(P::key_full(keys.stage), keys.phase);
    take_turn<P>(m);
    multiply_int8_keys(m, scores, keys.stage);
    m.wait(P::value_full(values.stage), values.phase);
    multiply_e4m3_values(m, sums, weights, values.stage);
    pass_turn<P>(m, tile == 1);
    key_scales(tile - 1, key_scale);
    m.template wgmma_wait<1>();
    release(m, P::key_empty(keys.stage));
    keys.advance();
    float s[P::kScores], next_correction[2];
    advance_int8(m, state, scores, row_scale, key_scale, s, next_correction);
    m.compute_now(state.sum[0] < state.sum[1] ? state.sum[0] : state.sum[1]);
    m.template wgmma_wait<0>();
    release(m, P::value_empty(values.stage));
    values.advance();
    add();
    pack_int8_weights(m, weights, s);
    correction[0] = next_correction[0], correction[1] = next_correction[1];
  }
  m.wait(P::value_full(values.stage), values.phase);
  multiply_e4m3_values(m, sums, weights, values.stage);
  m.template wgmma_wait<0>();
  add();
  float factor[2];
  LTXV_UNROLL
  for (int half = 0; half < 2; ++half) factor[half] = 1.0f / m.quad_sum(state.sum[half]);  // the largest weight alone is 2^8
  store_int8_output(m, problem, output, factor);
}

/// Sets up the barriers and sends each warpgroup to its work. At least one key.
template <class Machine>
LTXV_HD void attend_int8(Machine& m, const Int8Problem& problem) {
  using P = Int8Plan;
  if (m.thread() == 0) {
    m.prefetch_maps();
    m.init_barrier(P::query_full(), 1);
    for (int stage = 0; stage < P::kStages; ++stage) {
      m.init_barrier(P::key_full(stage), 1);
      m.init_barrier(P::value_full(stage), 1);
      m.init_barrier(P::key_empty(stage), P::kConsumerWarps);
      m.init_barrier(P::value_empty(stage), P::kConsumerWarps);
    }
    m.init_fence();
  }
  const int tiles = tiles_for(problem.k_length, P::kKeyRows);
  m.block_sync();
  if (m.is_producer()) {
    m.template give_registers<P::kProducerRegisters>();
    if (m.group_thread() == 0) produce_int8(m, problem, tiles);
  } else {
    m.template take_registers<P::kConsumerRegisters>();
    consume_int8(m, problem, tiles);
  }
}

}  // namespace ltxv::ops::gpu::sm90
