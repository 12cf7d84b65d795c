#pragma once
// One block a row: GELU if asked for, the row's largest magnitude, codes. One read of x and one write of the codes.
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

template <Element kType, int32_t kThreads, int32_t kEights, class Context>
struct QuantiseRows {
  Context& context;
  const QuantiseRowsLaunch& launch;

  LTXV_HD void run() {
    const int32_t row = context.block_x();
    const int64_t base = static_cast<int64_t>(row) * launch.width;
    float v[kEights][8] = {};
    float largest = 0;
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      Eight<kType>::load(context, launch.x, base + at, v[e]);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) {
        if (launch.gelu) v[e][i] = gelu(v[e][i]);
        largest = Largest::of(v[e][i] < 0 ? -v[e][i] : v[e][i], largest);
      }
    }
    largest = block_total<Largest, kThreads>(context, largest, 0);
    // A row of zeros, or so small that 448 / largest is infinite: zeros.
    const float factor = largest > 1e-30f ? kE4m3Max / largest : 0.0f;
    if (context.thread() == 0) context.store(launch.scales + row, largest / kE4m3Max);
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t at = (e * kThreads + context.thread()) * 8;
      if (at >= launch.width) continue;
      const Words2 words = {context.pack_e4m3(v[e][0] * factor, v[e][1] * factor, v[e][2] * factor, v[e][3] * factor),
                            context.pack_e4m3(v[e][4] * factor, v[e][5] * factor, v[e][6] * factor, v[e][7] * factor)};
      context.store(reinterpret_cast<Words2*>(static_cast<uint8_t*>(launch.codes) + base + at), words);
    }
  }

  // 0.5 x (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). Below -12 the exponent would leave f32's range, and the
  // result is zero.
  LTXV_HD float gelu(float x) const {
    constexpr float kTwice = -1.5957691216057308f * 1.4426950408889634f;  // -2 sqrt(2/pi) log2 e
    const float bounded = x < -12.0f ? -12.0f : x;
    return bounded * context.reciprocal(1.0f + context.exp2(bounded * (kTwice + kTwice * 0.044715f * bounded * bounded)));
  }
};

/// Threads of a block and eights of a thread that cover a row of the feed-forward's hidden layer too.
template <class Run>
int with_quant_plan(int32_t width, Run&& run) {
  const int32_t total = width / 8;
  if (total > 1024) return run.template operator()<256, 8>();
  return with_row_plan(width, run);
}

}  // namespace ltxv::ops::gpu
