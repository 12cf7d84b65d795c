#pragma once
// Images and clips that the video must contain, as token strengths and extra tokens.
#include <utility>
#include <vector>

#include "base/tensor.h"
#include "diffusion/noise.h"
#include "diffusion/sampler.h"
#include "diffusion/tokens.h"

namespace ltxv {

/// One encoded condition: latents f32 [1,C,t,h,w], normalised.
struct EncodedCondition {
  at::Tensor latents;
  int64_t frame_index = 0;  ///< pixel frame where it starts
  double strength = 1;
};

/// Latent frames of a clip behind frame 0 that become extra tokens; the rest of it takes its place in the video.
inline constexpr int64_t kPrefixLatents = 2;

/// Where the sampler starts, and the coordinates of its tokens.
struct StartState {
  at::Tensor tokens;       ///< f32 [1,N,C]
  at::Tensor strength;     ///< f32 [N], or undefined without conditions
  at::Tensor coordinates;  ///< i64 [3,N], pixel frame, row, column
  int64_t extra_tokens = 0;  ///< stand in front, dropped at the end
};

/// Latents before conditions, and how much of each is kept already (a mask); the strength is undefined where nothing is.
struct StartVolume {
  StartVolume(at::Tensor latents_, at::Tensor strength_ = {}) : latents(std::move(latents_)), strength(std::move(strength_)) {}
  at::Tensor latents;   ///< f32 [1,C,T,H,W]
  at::Tensor strength;  ///< f32 [1,1,T,H,W], or undefined
};

/// At frame 0 the condition is mixed into the first latents; elsewhere an image, or the first two latents of a clip, become extra
/// tokens with coordinates of their own (drawn as "condition_00", …), and the rest of a clip is mixed into the latents it covers.
/// Conditions win over what `start` keeps.   Errors: InvalidArgument when a condition lies outside the video.
/// Source: LTX-Video pipeline_ltx_video.py, prepare_conditioning.
StartState apply_conditions(const StartVolume& start, const std::vector<EncodedCondition>& conditions, const Compression& compression,
                            FrameRule rule, NoiseSource& noise);

}  // namespace ltxv
