#pragma once
// How the predictions of one step's passes become one velocity.
#include <optional>

#include "base/tensor.h"
#include "guided_step/guided_step.h"

namespace ltxv {

struct GuidanceSettings {
  double scale = 1;        ///< classifier-free guidance; a negative-prompt pass is needed only above 1
  double cfg_rescale = 0;  ///< diffusers' guidance_rescale: restores the conditional's deviation after plain guidance
  double stg_scale = 0;    ///< spatio-temporal guidance; a perturbed pass is needed only above 0
  double stg_rescale = 1;  ///< the official rescaling_scale: acts only with stg_scale > 0; 1 = off
  bool cfg_star = false;   ///< projects the negative prediction on the positive one first

  bool needs_negative() const { return scale > 1; }
  bool needs_perturbed() const { return stg_scale > 0; }
};

/// What the settings need of the predictions. Shapes: each prediction f32 [1,N,C]; negative and perturbed may be undefined where the
/// settings do not need them. All statistics run over every token, conditioning tokens included.
ops::GuidanceTerms guidance_terms(const at::Tensor& positive, const at::Tensor& negative, const at::Tensor& perturbed,
                                  const GuidanceSettings& settings);
/// ops::guided_velocity of them.
at::Tensor combine_guidance(const at::Tensor& positive, const at::Tensor& negative, const at::Tensor& perturbed,
                            const GuidanceSettings& settings);

}  // namespace ltxv
