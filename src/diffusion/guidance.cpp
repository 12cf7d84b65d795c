#include "diffusion/guidance.h"

#include "base/error.h"

namespace ltxv {
namespace {

// x * (r * std(reference) / std(x) + 1 - r), unbiased deviations over the whole sample.
at::Tensor restore_deviation(const at::Tensor& x, const at::Tensor& reference, double r) {
  return x * (r * reference.std() / x.std() + (1.0 - r));
}

}  // namespace

at::Tensor combine_guidance(const at::Tensor& positive, const at::Tensor& negative, const at::Tensor& perturbed,
                            const GuidanceSettings& settings) {
  auto velocity = positive;
  if (settings.needs_negative()) {
    LTXV_ASSERT(negative.defined(), "guidance without a negative prediction");
    auto base = negative;
    if (settings.cfg_star) base = base * ((positive * base).sum() / ((base * base).sum() + 1e-8));
    velocity = base + settings.scale * (positive - base);
    if (settings.cfg_rescale != 0) velocity = restore_deviation(velocity, positive, settings.cfg_rescale);
  }
  if (settings.needs_perturbed()) {
    LTXV_ASSERT(perturbed.defined(), "spatio-temporal guidance without a perturbed prediction");
    velocity = velocity + settings.stg_scale * (positive - perturbed);
    if (settings.stg_rescale != 1) velocity = restore_deviation(velocity, positive, settings.stg_rescale);
  }
  return velocity;
}

}  // namespace ltxv
