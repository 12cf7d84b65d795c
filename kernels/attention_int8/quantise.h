#pragma once
// What runs in front of the eight-bit attention: sums of keys and largest values over parts of the tokens, then the codes.
#include "attention_int8/layout.h"
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

inline constexpr int32_t kInt8QuantiseThreads = 128;

/// Bits of a magnitude, which are ordered as magnitudes are, with NaN above all numbers.
LTXV_HD uint32_t magnitude_bits(float v) { return float_bits(v) & 0x7fffffffu; }
LTXV_HD uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/// Four values of at most 127 in magnitude as bytes, the first lowest; to nearest, ties to even.
LTXV_HD uint32_t pack_int8(float a, float b, float c, float d) {
  constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: the integer is in the low bits of the sum
  return (float_bits(a + kToInteger) & 0xffu) | (float_bits(b + kToInteger) & 0xffu) << 8 | (float_bits(c + kToInteger) & 0xffu) << 16 |
         float_bits(d + kToInteger) << 24;
}

// Scales never become zero: a masked score is -inf times one. Values this small are zero beside any others.
inline constexpr float kInt8SmallestMagnitude = 1e-12f;

/// A block for each part, head and batch.
template <int32_t kHeadDim, class Context>
struct Int8Parts {
  static constexpr int32_t kLanes = kHeadDim / 8, kRows = kInt8QuantiseThreads / kLanes;
  static constexpr uint32_t kSharedBytes = kInt8QuantiseThreads * 16 * 4;
  Context& context;
  const AttentionInt8Launch& launch;
  const Int8Workspace& at;

  LTXV_HD void run() {
    const AttentionLaunch& a = launch.attention;
    const int64_t pair = static_cast<int64_t>(context.block_z()) * a.heads + context.block_y();
    const int32_t eight = context.thread() % kLanes, tokens_a_part = static_cast<int32_t>(ceil_div(a.k_length, kInt8Parts));
    const int32_t first = context.block_x() * tokens_a_part, last = first + tokens_a_part < a.k_length ? first + tokens_a_part : a.k_length;
    float sums[8] = {};
    uint32_t largest[8] = {};
    for (int32_t token = first + context.thread() / kLanes; token < last; token += kRows) {
      float k[8], v[8];
      const int64_t column = context.block_y() * kHeadDim + eight * 8;
      Eight<Element::bf16>::load(context, a.k, context.block_z() * a.k_batch_stride + token * a.k_row_stride + column, k);
      Eight<Element::bf16>::load(context, a.v, context.block_z() * a.v_batch_stride + token * a.v_row_stride + column, v);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) sums[i] += k[i], largest[i] = larger(largest[i], magnitude_bits(v[i]));
    }
    const uint32_t own = static_cast<uint32_t>(context.thread()) * 64;
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; ++i) {
      context.store_shared(own + i * 4, sums[i]);
      context.store_shared(own + 32 + i * 4, largest[i]);
    }
    context.sync();
    if (context.thread() >= kHeadDim) return;
    // A thread a channel, rows in order.
    const uint32_t channel = static_cast<uint32_t>(context.thread() / 8 * 64 + context.thread() % 8 * 4);
    float sum = 0;
    uint32_t most = 0;
    for (int32_t row = 0; row < kRows; ++row) {
      sum += context.template load_shared<float>(channel + row * kLanes * 64);
      most = larger(most, context.template load_shared<uint32_t>(channel + row * kLanes * 64 + 32));
    }
    auto* parts = reinterpret_cast<uint32_t*>(static_cast<char*>(launch.workspace) + at.parts) + (pair * kInt8Parts + context.block_x()) * 2 * kHeadDim;
    context.store(parts + context.thread(), float_bits(sum));
    context.store(parts + kHeadDim + context.thread(), most);
  }
};

/// A block for each 64 tokens, of queries and of keys and values, each head and batch.
template <int32_t kHeadDim, class Context>
struct Int8Quantise {
  static constexpr int32_t kLanes = kHeadDim / 8, kRows = kInt8QuantiseThreads / kLanes, kRowsAThread = kInt8KeyTile / kRows;
  static constexpr uint32_t kSharedBytes = kInt8QuantiseThreads / kWarpSize * 4;
  Context& context;
  const AttentionInt8Launch& launch;
  const Int8Workspace& at;
  int64_t pair;

  template <class T>
  LTXV_HD T* part(int64_t offset) const {
    return reinterpret_cast<T*>(static_cast<char*>(launch.workspace) + offset);
  }
  LTXV_HD int64_t element(int64_t batch_stride, int64_t row_stride, int32_t token, int32_t eight) const {
    return context.block_z() * batch_stride + token * row_stride + context.block_y() * kHeadDim + eight * 8;
  }
  LTXV_HD void load_or_zero(const void* from, int64_t batch_stride, int64_t row_stride, int32_t token, int32_t count, int32_t eight, float (&v)[8]) {
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; ++i) v[i] = 0;
    if (token < count) Eight<Element::bf16>::load(context, from, element(batch_stride, row_stride, token, eight), v);
  }
  LTXV_HD void store_codes(int64_t row, int32_t eight, int64_t base, const float (&v)[8], float factor) {
    const Words2 words = {pack_int8(v[0] * factor, v[1] * factor, v[2] * factor, v[3] * factor),
                          pack_int8(v[4] * factor, v[5] * factor, v[6] * factor, v[7] * factor)};
    context.store(reinterpret_cast<Words2*>(part<char>(base) + row * kHeadDim + eight * 8), words);
  }
  LTXV_HD static float at_least(uint32_t bits) {
    const float v = float_from_bits(bits);
    return v < kInt8SmallestMagnitude ? kInt8SmallestMagnitude : v;  // NaN stays
  }

  LTXV_HD void queries(int32_t first) {
    const AttentionLaunch& a = launch.attention;
    const int32_t eight = context.thread() % kLanes;
    LTXV_UNROLL_BY(1)
    for (int32_t r = 0; r < kRowsAThread; ++r) {
      const int32_t token = first + r * kRows + context.thread() / kLanes;
      float v[8];
      load_or_zero(a.q, a.q_batch_stride, a.q_row_stride, token, a.q_length, eight, v);
      uint32_t bits = 0;
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) bits = larger(bits, magnitude_bits(v[i]));
      LTXV_UNROLL
      for (int32_t mask = kLanes / 2; mask > 0; mask /= 2) bits = larger(bits, context.shuffle_xor(bits, mask));
      const float largest = at_least(bits);
      const int64_t row = pair * at.query_rows + token;
      store_codes(row, eight, at.q, v, 127.0f / largest);
      // Scores in powers of two.
      if (eight == 0) context.store(part<float>(at.q_scales) + row, largest / 127.0f * (a.scale * 1.44269504088896341f));
    }
  }

  LTXV_HD void keys(int32_t first) {
    const AttentionLaunch& a = launch.attention;
    const int32_t eight = context.thread() % kLanes;
    float mean[8] = {};
    for (int32_t p = 0; p < kInt8Parts; ++p) {
      float sums[8];
      Eight<Element::f32>::load(context, part<float>(at.parts), (pair * kInt8Parts + p) * 2 * kHeadDim + eight * 8, sums);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) mean[i] += sums[i];
    }
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; ++i) mean[i] /= static_cast<float>(a.k_length);
    float v[kRowsAThread][8];
    uint32_t bits = 0;
    LTXV_UNROLL
    for (int32_t r = 0; r < kRowsAThread; ++r) {
      const int32_t token = first + r * kRows + context.thread() / kLanes;
      load_or_zero(a.k, a.k_batch_stride, a.k_row_stride, token, a.k_length, eight, v[r]);
      if (token >= a.k_length) continue;
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) {
        v[r][i] -= mean[i];
        bits = larger(bits, magnitude_bits(v[r][i]));
      }
    }
    LTXV_UNROLL
    for (int32_t mask = 16; mask > 0; mask /= 2) bits = larger(bits, context.shuffle_xor(bits, mask));
    if (context.thread() % kWarpSize == 0) context.store_shared(static_cast<uint32_t>(context.thread() / kWarpSize * 4), bits);
    context.sync();
    LTXV_UNROLL
    for (uint32_t warp = 0; warp < kInt8QuantiseThreads / kWarpSize; ++warp) bits = larger(bits, context.template load_shared<uint32_t>(warp * 4));
    const float largest = at_least(bits);
    LTXV_UNROLL
    for (int32_t r = 0; r < kRowsAThread; ++r)
      store_codes(pair * at.key_rows + first + r * kRows + context.thread() / kLanes, eight, at.k, v[r], 127.0f / largest);
    if (context.thread() == 0) context.store(part<float>(at.k_scales) + (pair * at.key_rows + first) / kInt8KeyTile, largest / 127.0f);
  }

  // A thread makes words of four tokens for eight channels: rows of the result are channels.
  LTXV_HD void values(int32_t first) {
    const AttentionLaunch& a = launch.attention;
    constexpr int32_t kWords = kInt8KeyTile / 4;
    LTXV_UNROLL_BY(1)
    for (int32_t item = context.thread(); item < kWords * kLanes; item += kInt8QuantiseThreads) {
      const int32_t word = item % kWords, eight = item / kWords;
      uint32_t most[8] = {};
      for (int32_t p = 0; p < kInt8Parts; ++p)
        LTXV_UNROLL
        for (int32_t half = 0; half < 2; ++half) {
          const Words4 w = context.load(part<Words4>(at.parts) + ((pair * kInt8Parts + p) * 2 + 1) * kHeadDim / 4 + eight * 2 + half);
          most[half * 4] = larger(most[half * 4], w.x), most[half * 4 + 1] = larger(most[half * 4 + 1], w.y);
          most[half * 4 + 2] = larger(most[half * 4 + 2], w.z), most[half * 4 + 3] = larger(most[half * 4 + 3], w.w);
        }
      float v[4][8];
      LTXV_UNROLL
      for (int32_t i = 0; i < 4; ++i)
        load_or_zero(a.v, a.v_batch_stride, a.v_row_stride, first + word / 8 * 32 + key_at(word % 8 * 4 + i), a.k_length, eight, v[i]);
      LTXV_UNROLL
      for (int32_t c = 0; c < 8; ++c) {
        const float largest = at_least(most[c]), factor = kE4m3Max / largest;
        const int64_t row = pair * kHeadDim + eight * 8 + c;
        context.store(part<uint32_t>(at.v) + (row * at.key_rows + first) / 4 + word,
                      context.pack_e4m3(v[0][c] * factor, v[1][c] * factor, v[2][c] * factor, v[3][c] * factor));
        if (first == 0 && word == 0) context.store(part<float>(at.v_scales) + row, largest / kE4m3Max);
      }
    }
  }

  LTXV_HD void run() {
    pair = static_cast<int64_t>(context.block_z()) * launch.attention.heads + context.block_y();
    const int32_t first = context.block_x() * kInt8KeyTile;
    if (first < at.query_rows) queries(first);
    if (first >= at.key_rows) return;
    values(first);
    keys(first);
  }
};

}  // namespace ltxv::ops::gpu
