#pragma once
// What follows a convolution: bias and residual in one pass, eight channels a thread.
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

inline constexpr int32_t kAddBiasThreads = 256;

template <Element kType, class Context>
struct AddBias {
  Context& context;
  const AddBiasLaunch& launch;

  LTXV_HD void run() {
    const int64_t at = (static_cast<int64_t>(context.block_x()) * kAddBiasThreads + context.thread()) * 8;
    if (at >= launch.count) return;
    float v[8], bias[8];
    Eight<kType>::load(context, launch.y, at, v);
    Eight<kType>::load(context, launch.bias, at % launch.channels, bias);
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; ++i) v[i] += bias[i];
    if (launch.residual) {
      float more[8];
      Eight<kType>::load(context, launch.residual, at, more);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) v[i] += more[i];
    }
    Eight<kType>::store(context, launch.y, at, v);
  }
};

}  // namespace ltxv::ops::gpu
