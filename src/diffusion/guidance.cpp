#include "diffusion/guidance.h"

#include "base/error.h"

namespace ltxv {

ops::GuidanceTerms guidance_terms(const at::Tensor& positive, const at::Tensor& negative, const at::Tensor& perturbed,
                                  const GuidanceSettings& settings) {
  LTXV_ASSERT(!settings.needs_negative() || negative.defined(), "guidance without a negative prediction");
  LTXV_ASSERT(!settings.needs_perturbed() || perturbed.defined(), "spatio-temporal guidance without a perturbed prediction");
  return {.positive = positive,
          .negative = settings.needs_negative() ? negative : at::Tensor(),
          .perturbed = settings.needs_perturbed() ? perturbed : at::Tensor(),
          .scale = settings.scale,
          .cfg_rescale = settings.cfg_rescale,
          .stg_scale = settings.stg_scale,
          .stg_rescale = settings.stg_rescale,
          .cfg_star = settings.cfg_star};
}

at::Tensor combine_guidance(const at::Tensor& positive, const at::Tensor& negative, const at::Tensor& perturbed,
                            const GuidanceSettings& settings) {
  return ops::guided_velocity(guidance_terms(positive, negative, perturbed, settings));
}

}  // namespace ltxv
