#pragma once
// One block a row: gate and residual, norm, modulation and, for fp8, the row's scale, with one read of x and update and one write of
// x and out. What is normed is the stored sum, rounded, so that the fused kernel and the two single ones agree.
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

template <Element kType, Element kOutType, int32_t kThreads, int32_t kEights, class Context>
struct NormModulate {
  Context& context;
  const NormModulateLaunch& launch;

  LTXV_HD void run() {
    const int32_t row = context.block_x(), token = row % launch.tokens;
    const int64_t base = static_cast<int64_t>(row) * launch.width;
    const int64_t entry = launch.index ? context.load(launch.index + token) * launch.table_stride : 0;
    float v[kEights][8];
    float squares = 0;
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      Eight<kType>::load(context, launch.x, base + at, v[e]);
      if (launch.update) {
        float update[8], gate[8] = {1, 1, 1, 1, 1, 1, 1, 1};
        Eight<kType>::load(context, launch.update, base + at, update);
        if (launch.gate) Eight<Element::f32>::load(context, launch.gate, entry + at, gate);
        LTXV_UNROLL
        for (int32_t i = 0; i < 8; ++i) v[e][i] += update[i] * gate[i];
        Eight<kType>::round(context, v[e]);
        Eight<kType>::store(context, launch.x, base + at, v[e]);
      }
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) squares += v[e][i] * v[e][i];
    }
    if (!launch.out) return;
    squares = block_total<Sum, kThreads>(context, squares, 0);
    const float inverse = context.reciprocal_sqrt(squares / static_cast<float>(launch.width) + launch.eps);
    float largest = 0;
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      float scale[8], shift[8];
      Eight<Element::f32>::load(context, launch.scale, entry + at, scale);
      Eight<Element::f32>::load(context, launch.shift, entry + at, shift);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) {
        v[e][i] = v[e][i] * inverse * (1.0f + scale[i]) + shift[i];
        largest = Largest::of(v[e][i] < 0 ? -v[e][i] : v[e][i], largest);
      }
      if constexpr (kOutType == kType) Eight<kType>::store(context, launch.out, base + at, v[e]);
    }
    if constexpr (kOutType == Element::e4m3) store_e4m3(v, largest, row);
  }

  LTXV_HD void store_e4m3(const float (&v)[kEights][8], float largest, int32_t row) {
    largest = block_total<Largest, kThreads>(context, largest, kRowSharedBytes / 2);
    // A row of zeros, or so small that 448 / largest is infinite: zeros.
    const float factor = largest > 1e-30f ? kE4m3Max / largest : 0.0f;
    if (context.thread() == 0) context.store(launch.row_scale + row, largest / kE4m3Max);
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      float scaled[8];
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) scaled[i] = v[e][i] * factor;
      const Words2 words = {context.pack_e4m3(scaled[0], scaled[1], scaled[2], scaled[3]),
                            context.pack_e4m3(scaled[4], scaled[5], scaled[6], scaled[7])};
      context.store(reinterpret_cast<Words2*>(static_cast<uint8_t*>(launch.out) + static_cast<int64_t>(row) * launch.width + at), words);
    }
  }
};

}  // namespace ltxv::ops::gpu
