#pragma once
#include "base/tensor.h"

namespace ltxv::ops {

/// What one step does with the predictions of its passes.
struct GuidedStepArgs {
  at::Tensor& tokens;              ///< f32 [1,N,C]
  const at::Tensor& positive;      ///< [1,N,C]
  const at::Tensor& negative;      ///< as positive; undefined: no classifier-free guidance
  const at::Tensor& perturbed;     ///< as positive; undefined: no spatio-temporal guidance
  double scale = 1, cfg_rescale = 0, stg_scale = 0, stg_rescale = 1;  ///< as in src/diffusion/guidance.h
  bool cfg_star = false;
  double step = 0;                 ///< sigma_next - sigma
  const at::Tensor& token_step;    ///< f32 [N] instead of `step`, or undefined
};

/// tokens += step * velocity, the velocity being the guided combination of the predictions; statistics run over all tokens.
/// On a GPU two small kernels, without a value that the host waits for; elsewhere the elementary operations.
/// Shapes: predictions f32 or bf16, one dtype.   Errors: InvalidArgument on mismatched shapes or dtypes.
/// Source: LTX-Video pipeline_ltx_video.py, __call__ (guidance), and schedulers/rf.py, step.
void guided_step_(const GuidedStepArgs& args);

}  // namespace ltxv::ops
