#pragma once
// Guidance is linear in the predictions once the deviations are known, and those follow from nine sums. So one pass adds up, one more
// forms velocity = positive * a + negative * b + perturbed * c and steps, and nothing in between is ever stored.
#include <cmath>

#include "launchers.h"
#include "cuda/simt.h"

namespace ltxv::ops::gpu {

/// Sums over all elements of a sample: of the predictions and of their products.
struct Moments {
  double p, n, q, pp, nn, qq, pn, pq, nq;
};
inline constexpr int32_t kMomentCount = 9;

struct GuidanceCoefficients {
  double positive, negative, perturbed;
};

/// Whether the coefficients depend on the sums at all.
LTXV_HD bool needs_moments(const GuidedStepLaunch& launch) {
  return (launch.negative && (launch.cfg_star || launch.cfg_rescale != 0)) || (launch.perturbed && launch.stg_rescale != 1);
}

/// Variance (times count - 1) of the combination; double sums of f32 values leave 1e-9 of it after the subtraction.
LTXV_HD double spread(const Moments& m, const GuidanceCoefficients& k, double count) {
  const double a = k.positive, b = k.negative, c = k.perturbed;
  const double square = a * a * m.pp + b * b * m.nn + c * c * m.qq + 2 * (a * b * m.pn + a * c * m.pq + b * c * m.nq);
  const double sum = a * m.p + b * m.n + c * m.q;
  return square - sum * sum / count;
}

/// Source: src/diffusion/guidance.cpp, combine_guidance, the same rules in the same order.
LTXV_HD GuidanceCoefficients guidance_coefficients(const GuidedStepLaunch& launch, const Moments& m, double count) {
  GuidanceCoefficients k = {1, 0, 0};
  const auto restore = [&](double r) {
    const double factor = r * sqrt(spread(m, {1, 0, 0}, count) / spread(m, k, count)) + 1 - r;
    k.positive *= factor, k.negative *= factor, k.perturbed *= factor;
  };
  if (launch.negative) {
    const double projected = launch.cfg_star ? m.pn / (m.nn + 1e-8) : 1;
    k.positive = launch.scale, k.negative = (1 - static_cast<double>(launch.scale)) * projected;
    if (launch.cfg_rescale != 0) restore(launch.cfg_rescale);
  }
  if (launch.perturbed) {
    k.positive += launch.stg_scale, k.perturbed -= launch.stg_scale;
    if (launch.stg_rescale != 1) restore(launch.stg_rescale);
  }
  return k;
}

}  // namespace ltxv::ops::gpu
