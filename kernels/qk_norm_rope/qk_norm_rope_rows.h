#pragma once
// One block a row: the row is read once, kept in registers between the sum of squares and the rotation, and written once.
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

/// Where the separable tables hold the angle of a pair: entry `frequency` of the row of `axis`; axis -1: not turned.
struct RopeEntry {
  int32_t axis, frequency;
};
/// Pair 3k + axis behind the (width - 6K)/2 unturned ones, K = width/6: frequency slowest, axis fastest, as in src/transformer/rope.h.
LTXV_HD constexpr RopeEntry rope_entry(int32_t pair, int32_t width) {
  const int32_t turned = pair - (width - width / 6 * 6) / 2;
  return turned < 0 ? RopeEntry{-1, 0} : RopeEntry{turned % 3, turned / 3};
}

template <Element kType, int32_t kThreads, int32_t kEights, class Context>
struct QkNormRope {
  Context& context;
  const QkNormRopeLaunch& launch;

  LTXV_HD void angles(int32_t token, int32_t pair, const int32_t (&rows)[3], float (&cos)[4], float (&sin)[4]) {
    if (!launch.table_rows) {
      const int64_t at = static_cast<int64_t>(token) * (launch.width / 2) + pair;
      const Floats4 c = context.load(reinterpret_cast<const Floats4*>(launch.cos + at));
      const Floats4 s = context.load(reinterpret_cast<const Floats4*>(launch.sin + at));
      cos[0] = c.x, cos[1] = c.y, cos[2] = c.z, cos[3] = c.w;
      sin[0] = s.x, sin[1] = s.y, sin[2] = s.z, sin[3] = s.w;
      return;
    }
    LTXV_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
      const RopeEntry entry = rope_entry(pair + i, launch.width);
      cos[i] = 1, sin[i] = 0;
      if (entry.axis < 0) continue;
      const int32_t row = entry.axis == 0 ? rows[0] : entry.axis == 1 ? rows[1] : rows[2];
      const int64_t at = static_cast<int64_t>(row) * (launch.width / 6) + entry.frequency;
      cos[i] = context.load(launch.cos + at), sin[i] = context.load(launch.sin + at);
    }
  }

  LTXV_HD void run() {
    const int32_t row = context.block_x(), token = row % launch.tokens;
    // Chosen, not indexed: an indexed parameter is copied to local memory first.
    void* x = context.block_y() == 0 ? launch.x[0] : launch.x[1];
    const void* weights = context.block_y() == 0 ? launch.weight[0] : launch.weight[1];
    const int64_t base = row * launch.row_stride;
    float v[kEights][8];
    float squares = 0;
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      Eight<kType>::load(context, x, base + at, v[e]);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) squares += v[e][i] * v[e][i];
    }
    squares = block_total<Sum, kThreads>(context, squares, 0);
    const float inverse = context.reciprocal_sqrt(squares / static_cast<float>(launch.width) + launch.eps);
    int32_t rows[3] = {0, 0, 0};
    if (launch.table_rows) {
      LTXV_UNROLL
      for (int32_t axis = 0; axis < 3; ++axis) rows[axis] = context.load(launch.table_rows + static_cast<int64_t>(token) * 3 + axis);
    }
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      float weight[8];
      Eight<kType>::load(context, weights, at, weight);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) v[e][i] = v[e][i] * inverse * weight[i];
      if (launch.cos) {
        float cos[4], sin[4];
        angles(token, at / 2, rows, cos, sin);
        LTXV_UNROLL
        for (int32_t i = 0; i < 4; ++i) {
          const float even = v[e][2 * i], odd = v[e][2 * i + 1];
          v[e][2 * i] = even * cos[i] - odd * sin[i];
          v[e][2 * i + 1] = odd * cos[i] + even * sin[i];
        }
      }
      Eight<kType>::store(context, x, base + at, v[e]);
    }
  }
};

}  // namespace ltxv::ops::gpu
