#pragma once
// The control clip of an in-context LoRA: a second set of tokens that the model sees beside the video's own.
#include "diffusion/conditioning.h"

namespace ltxv {

struct Reference {
  const at::Tensor& latents;  ///< f32 [1,C,t,h,w], normalised; t at most that of the video, h and w those of the video over `downscale`
  int64_t downscale = 1;      ///< pixel coordinates are multiplied by it, so that a token lies where the region it shows does
  double strength = 1;        ///< as of a condition: 1 keeps the tokens, less mixes them with noise (drawn as "control")
};

/// Puts the reference in front of every other token, at the coordinates of the video from its first frame on. Its tokens have
/// noise level 0, are never stepped and count as extra tokens, which are dropped at the end.
/// Source: LTX-Video-Trainer ltxv_pipeline.py, __call__ (reference_video); for `downscale` and `strength` ltx_core
/// conditioning/types/reference_video_cond.py.
void add_reference(StartState& start, const Reference& reference, const Compression& compression, FrameRule rule, NoiseSource& noise);

}  // namespace ltxv
