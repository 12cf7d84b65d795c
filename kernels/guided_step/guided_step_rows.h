#pragma once
// Two small kernels over all elements: sums, then the step. Blocks leave their sums in the workspace and everybody adds them in the
// same order, so a run repeats bit for bit.
#include "cuda/rows.h"
#include "guided_step/guidance_moments.h"

namespace ltxv::ops::gpu {

inline constexpr int32_t kGuidedStepThreads = 256, kGuidedStepMaxBlocks = kGuidedStepWorkspace / kMomentCount;
inline constexpr uint32_t kGuidedStepShared = kGuidedStepThreads / kWarpSize * kMomentCount * 8;

template <Element kType, class Context>
LTXV_HD float prediction(Context& context, const void* from, int64_t index) {
  if constexpr (kType == Element::bf16)
    return bf16_low(context.load(static_cast<const uint16_t*>(from) + index));
  else
    return context.load(static_cast<const float*>(from) + index);
}

template <Element kType, class Context>
struct GuidedMoments {
  Context& context;
  const GuidedStepLaunch& launch;
  int32_t blocks;

  LTXV_HD void run() {
    double sums[kMomentCount] = {};
    const int64_t count = launch.token_count * launch.width, step = static_cast<int64_t>(blocks) * kGuidedStepThreads;
    for (int64_t i = static_cast<int64_t>(context.block_x()) * kGuidedStepThreads + context.thread(); i < count; i += step) {
      const double p = prediction<kType>(context, launch.positive, i);
      const double n = launch.negative ? prediction<kType>(context, launch.negative, i) : 0;
      const double q = launch.perturbed ? prediction<kType>(context, launch.perturbed, i) : 0;
      const double terms[kMomentCount] = {p, n, q, p * p, n * n, q * q, p * n, p * q, n * q};
      LTXV_UNROLL
      for (int32_t k = 0; k < kMomentCount; ++k) sums[k] += terms[k];
    }
    const int32_t lane = context.thread() % kWarpSize, warp = context.thread() / kWarpSize;
    LTXV_UNROLL
    for (int32_t k = 0; k < kMomentCount; ++k) {
      LTXV_UNROLL
      for (int32_t mask = 16; mask > 0; mask /= 2) sums[k] += context.shuffle_xor(sums[k], mask);
      if (lane == 0) context.store_shared(static_cast<uint32_t>((warp * kMomentCount + k) * 8), sums[k]);
    }
    context.sync();
    if (context.thread() >= kMomentCount) return;
    double total = 0;
    for (int32_t w = 0; w < kGuidedStepThreads / kWarpSize; ++w)
      total += context.template load_shared<double>(static_cast<uint32_t>((w * kMomentCount + context.thread()) * 8));
    context.store(launch.workspace + context.block_x() * kMomentCount + context.thread(), total);
  }
};

template <Element kType, class Context>
struct GuidedStep {
  Context& context;
  const GuidedStepLaunch& launch;
  int32_t moment_blocks;  ///< 0: the coefficients need no sums

  LTXV_HD void run() {
    const int64_t count = launch.token_count * launch.width;
    Moments moments = {};
    if (moment_blocks > 0) {
      if (context.thread() < kMomentCount) {
        double total = 0;
        for (int32_t block = 0; block < moment_blocks; ++block)
          total += context.load(launch.workspace + block * kMomentCount + context.thread());
        context.store_shared(static_cast<uint32_t>(context.thread() * 8), total);
      }
      context.sync();
      double* const all[kMomentCount] = {&moments.p,  &moments.n,  &moments.q,  &moments.pp, &moments.nn,
                                         &moments.qq, &moments.pn, &moments.pq, &moments.nq};
      LTXV_UNROLL
      for (int32_t k = 0; k < kMomentCount; ++k) *all[k] = context.template load_shared<double>(static_cast<uint32_t>(k * 8));
    }
    const GuidanceCoefficients k = guidance_coefficients(launch, moments, static_cast<double>(count));
    const float a = static_cast<float>(k.positive), b = static_cast<float>(k.negative), c = static_cast<float>(k.perturbed);
    const int64_t i = static_cast<int64_t>(context.block_x()) * kGuidedStepThreads + context.thread();
    if (i >= count) return;
    float velocity = a * prediction<kType>(context, launch.positive, i);
    if (launch.negative) velocity += b * prediction<kType>(context, launch.negative, i);
    if (launch.perturbed) velocity += c * prediction<kType>(context, launch.perturbed, i);
    if (launch.velocity) context.store(launch.velocity + i, velocity);
    if (!launch.tokens) return;
    const float step = launch.token_step ? context.load(launch.token_step + i / launch.width) : launch.step;
    context.store(launch.tokens + i, context.load(static_cast<const float*>(launch.tokens) + i) + step * velocity);
  }
};

}  // namespace ltxv::ops::gpu
