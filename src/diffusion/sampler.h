#pragma once
// One run's state and one step of it. The state is plain data: saved and loaded, a run continues as if it had not stopped.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "guided_step/guided_step.h"

namespace ltxv {

/// Tokens may be on a device; levels and strengths are always in the host's memory, and nothing here waits for the device.
struct SamplerState {
  at::Tensor tokens;          ///< f32 [1,N,C], extra conditioning tokens in front
  at::Tensor clean_tokens;    ///< f32 [1,N,C]: the start, of which conditioned tokens are refreshed; undefined without conditions
  at::Tensor strength;        ///< f32 [N]: 0 = generated, 1 = kept; undefined without conditions
  std::vector<float> sigmas;  ///< descending, with the final 0
  int64_t step = 0;           ///< next step, sigmas.size() - 1 = finished
  uint64_t seed = 0;
  int64_t draw_count = 0;       ///< random tensors taken so far
  uint64_t condition_hash = 0;  ///< of prompt, conditions and settings: a state resumes only what it belongs to

  int64_t step_count() const { return static_cast<int64_t>(sigmas.size()) - 1; }
  bool finished() const { return step >= step_count(); }

  std::map<std::string, at::Tensor> to_tensors() const;
  /// Errors: BadWeights when a tensor is missing or of a wrong shape.
  static SamplerState from_tensors(const std::map<std::string, at::Tensor>& tensors);
};

/// The noise level the model is told for this step: [1], or min(sigma, 1 - strength) for each token, [N]. f32, in the host's memory.
at::Tensor token_sigmas(const SamplerState& state);

/// One Euler step, x += (sigma_next - sigma) * v. With conditions every token moves from its own level to the next lower entry of
/// the schedule, and only once the schedule has come down to its level: sigma - 1e-6 < 1 - strength, in f32.
/// Shapes: velocity f32 [1,N,C].   Source: LTX-Video pipeline_ltx_video.py, denoising_step, and schedulers/rf.py, step.
void euler_step(SamplerState& state, const at::Tensor& velocity);
/// The same with the velocity that guidance makes of a step's predictions: one op, a kernel of its own on a GPU.
void euler_step(SamplerState& state, const ops::GuidanceTerms& predictions);

/// As euler_step, but each token goes to its clean estimate and is noised afresh to the next level:
/// x = (1 - sigma_next) (x - sigma v) + sigma_next noise.   Shapes: velocity, noise f32 [1,N,C].
/// Source: LTX-Video schedulers/rf.py, RectifiedFlowScheduler.step with stochastic_sampling.
void stochastic_step(SamplerState& state, const at::Tensor& velocity, const at::Tensor& noise);

/// Fully kept tokens get fresh noise before the model sees them: clean + scale * sigma^2 * noise.
/// Shapes: noise f32 [1,N,C].   Source: LTX-Video pipeline_ltx_video.py, add_noise_to_image_conditioning_latents.
void renoise_kept_tokens(SamplerState& state, double scale, const at::Tensor& noise);

}  // namespace ltxv
