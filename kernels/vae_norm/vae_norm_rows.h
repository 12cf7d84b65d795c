#pragma once
// A few lanes a position: pixel norm, modulation and SiLU of its channels, written where the next convolution reads them, with the
// first and last frame repeated by those who compute them.
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

/// kLanes lanes share a position, each takes kEights times eight channels; a block of four warps takes 128 / kLanes positions.
struct VaeNormPlan {
  int32_t lanes, eights;
};
inline constexpr int32_t kVaeNormThreads = 128, kVaeNormMaxChannels = 2048;
constexpr VaeNormPlan vae_norm_plan(int32_t channels) {
  return channels <= 128 ? VaeNormPlan{16, 1} : VaeNormPlan{32, channels <= 256 ? 1 : channels <= 512 ? 2 : channels <= 1024 ? 4 : 8};
}

template <Element kType, int32_t kLanes, int32_t kEights, class Context>
struct VaeNorm {
  static constexpr int32_t kPositions = kVaeNormThreads / kLanes;  ///< a block
  static constexpr float kLog2E = 1.44269504088896341f;
  Context& context;
  const VaeNormLaunch& launch;

  LTXV_HD float silu(float v) { return v * context.reciprocal(1.0f + context.exp2(-v * kLog2E)); }

  LTXV_HD void run() {
    const int32_t lane = context.thread() % kLanes;
    const int64_t position = static_cast<int64_t>(context.block_x()) * kPositions + context.thread() / kLanes;
    const int32_t t = context.block_y() % launch.frames, b = context.block_y() / launch.frames;
    const bool inside = position < launch.positions;  // the others stay for the shuffles
    const int64_t from = (static_cast<int64_t>(context.block_y()) * launch.positions + position) * launch.channels;
    float v[kEights][8];
    float squares = 0;
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t c = (e * kLanes + lane) * 8;
      if (!inside || c >= launch.channels) continue;
      Eight<kType>::load(context, launch.x, from + c, v[e]);
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) squares += v[e][i] * v[e][i];
    }
    LTXV_UNROLL
    for (int32_t mask = kLanes / 2; mask > 0; mask /= 2) squares += context.shuffle_xor(squares, mask);
    const float inverse = context.reciprocal_sqrt(squares / static_cast<float>(launch.channels) + launch.eps);
    const int32_t padded = launch.front + launch.frames + launch.back;
    const int32_t first = t == 0 ? 0 : launch.front + t;
    const int32_t last = t == launch.frames - 1 ? padded - 1 : launch.front + t;
    LTXV_UNROLL
    for (int32_t e = 0; e < kEights; ++e) {
      const int32_t c = (e * kLanes + lane) * 8;
      if (!inside || c >= launch.channels) continue;
      float scale[8] = {}, shift[8] = {};
      if (launch.scale) {
        Eight<Element::f32>::load(context, launch.scale, static_cast<int64_t>(b) * launch.channels + c, scale);
        Eight<Element::f32>::load(context, launch.shift, static_cast<int64_t>(b) * launch.channels + c, shift);
      }
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) v[e][i] = silu(v[e][i] * inverse * (1.0f + scale[i]) + shift[i]);
      for (int32_t frame = first; frame <= last; ++frame) {
        const int64_t to = ((static_cast<int64_t>(b) * padded + frame) * launch.positions + position) * launch.channels;
        Eight<kType>::store(context, launch.out, to + c, v[e]);
      }
    }
  }
};

}  // namespace ltxv::ops::gpu
