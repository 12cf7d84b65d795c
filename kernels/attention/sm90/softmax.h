#pragma once
// The running softmax of one thread: two rows of a tile of scores, each spread over four neighbouring threads.
#include "attention/sm90/layout.h"

namespace ltxv::ops::gpu::sm90 {

/// Largest score so far of each of the two rows, the same in all four threads, and this thread's part of the sum of
/// weights. Source: Milakov and Gimelshein, "Online normalizer calculation for softmax".
inline constexpr float kMinusInfinity = -__builtin_huge_valf();
struct Softmax {
  float largest[2] = {kMinusInfinity, kMinusInfinity};
  float sum[2] = {0, 0};
};

/// Scores of the keys from `valid` on become minus infinity. A tile has at least one key that counts.
template <class Machine, int kCount>
LTXV_HD void hide_missing_keys(Machine& m, float (&scores)[kCount], int valid) {
  LTXV_UNROLL
  for (int i = 0; i < kCount; ++i)
    if (accumulator_column(m.group_thread(), i) >= valid) scores[i] = kMinusInfinity;
}

/// Turns a tile of scores into weights, and says by which factor what came before has to shrink.
/// weight = 2^(scale_log2 * (score - largest)), one multiply-add and one exponential an element.
template <class Machine, int kCount>
LTXV_HD void advance_softmax(Machine& m, Softmax& state, float (&scores)[kCount], float scale_log2,
                             float (&correction)[2]) {
  static_assert(kCount % 4 == 0);
  float largest[2] = {state.largest[0], state.largest[1]};
  LTXV_UNROLL
  for (int i = 0; i < kCount; i += 4) {
    largest[0] = m.larger(largest[0], m.larger(scores[i], scores[i + 1]));
    largest[1] = m.larger(largest[1], m.larger(scores[i + 2], scores[i + 3]));
  }
  float offset[2];
  LTXV_UNROLL
  for (int half = 0; half < 2; ++half) {
    largest[half] = m.quad_largest(largest[half]);
    offset[half] = largest[half] * scale_log2;
    correction[half] = m.power_of_two(state.largest[half] * scale_log2 - offset[half]);
    state.largest[half] = largest[half];
  }
  float sum[2] = {state.sum[0] * correction[0], state.sum[1] * correction[1]};
  LTXV_UNROLL
  for (int i = 0; i < kCount; ++i) {
    const int half = accumulator_half(i);
    scores[i] = m.power_of_two(scores[i] * scale_log2 - offset[half]);
    sum[half] += scores[i];
  }
  state.sum[0] = sum[0], state.sum[1] = sum[1];
}

template <int kCount>
LTXV_HD void rescale(float (&output)[kCount], const float (&correction)[2]) {
  LTXV_UNROLL
  for (int i = 0; i < kCount; ++i) output[i] *= correction[accumulator_half(i)];
}

/// Weights as the left operand of the next product: the registers of an accumulator, rounded to bf16 in pairs, are the
/// registers of an operand (layout_test proves it).
template <class Machine, int kCount>
LTXV_HD void pack_weights(Machine& m, uint32_t (&weights)[kCount / 2], const float (&scores)[kCount]) {
  LTXV_UNROLL
  for (int i = 0; i < kCount / 2; ++i) weights[i] = m.pack(scores[2 * i], scores[2 * i + 1]);
}

/// 1 / sum of weights of each row; 0 where there are no keys, so that the output is zero there.
template <class Machine>
LTXV_HD void finish_softmax(Machine& m, const Softmax& state, bool any_keys, float (&factor)[2]) {
  LTXV_UNROLL
  for (int half = 0; half < 2; ++half) {
    const float sum = m.quad_sum(state.sum[half]);
    factor[half] = any_keys ? 1.0f / sum : 0.0f;
  }
}

}  // namespace ltxv::ops::gpu::sm90
