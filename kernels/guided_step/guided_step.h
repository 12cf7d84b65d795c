#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// The predictions of one step's passes, and how they become one velocity. Statistics run over all tokens.
/// Shapes: [1,N,C], f32 or bf16, one dtype for all.
struct GuidanceTerms {
  at::Tensor positive;
  at::Tensor negative;   ///< undefined: no classifier-free guidance
  at::Tensor perturbed;  ///< undefined: no spatio-temporal guidance
  double scale = 1, cfg_rescale = 0, stg_scale = 0, stg_rescale = 1;  ///< as in src/diffusion/guidance.h
  bool cfg_star = false;
};

/// The velocity, f32, by elementary operations.
/// Source: LTX-Video pipeline_ltx_video.py, __call__ (guidance), and diffusers pipeline_ltx.py, rescale_noise_cfg.
at::Tensor guided_velocity(const GuidanceTerms& terms);

/// tokens += step * velocity, in two passes: sums over all tokens where the rule needs them, then the step. On a GPU without a value that
/// the host waits for.
/// Shapes: tokens f32 [1,N,C]; `token_step` f32 [N] takes the place of `step`, or is undefined.
/// Errors: InvalidArgument on mismatched shapes or dtypes.
/// Source: LTX-Video schedulers/rf.py, step.
void guided_step_(at::Tensor& tokens, const GuidanceTerms& terms, double step, const at::Tensor& token_step);

}  // namespace ltxv::ops
