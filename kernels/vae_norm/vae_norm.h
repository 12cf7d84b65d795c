#pragma once
// Ops of the video VAE between its convolutions. Volumes are logically [B,C,T,H,W]; the fast variants want them stored
// [B,T,H,W,C], the references take any storage, and every op gives them back stored [B,T,H,W,C].
#include <array>

#include "base/tensor.h"
#include "scratch.h"

namespace ltxv::ops {

/// Frames to repeat in front of and behind a clip, so that a 3-frame convolution keeps its length.
struct FramePadding {
  int64_t front = 0, back = 0;
};

/// SiLU(x * rsqrt(mean over channels of x^2 + 1e-8) * (1 + scale) + shift), then the padding. f32 inside.
/// Shapes: x [B,C,T,H,W] f32 or bf16; shift, scale [B,C] f32 contiguous, or both undefined -> [B,C,front+T+back,H,W].
/// Errors: InvalidArgument (shapes).
/// Source: autoencoder_kl_ltx.py, LTXVideoResnetBlock3d and LTXVideoCausalConv3d.
at::Tensor vae_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, FramePadding padding,
                    Scratch& scratch);
at::Tensor vae_norm_reference(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, FramePadding padding);

/// What becomes of the first frame when the stride unfolds time: the clip's first latent frame stands for one frame, the others
/// for two.
enum class FirstFrame { drop, keep };

/// Unfolds channels (c,t,h,w) into positions, and adds the unfolded residual with its channels repeated as often as needed.
/// Shapes: y [B,C*P,T,H,W], residual [B,R*P,T,H,W] with R dividing C, or undefined -> [B,C,T*st-(st-1),H*sh,W*sw]; all T*st
/// frames with FirstFrame::keep.
/// Source: autoencoder_kl_ltx.py, LTXVideoUpsampler3d.
at::Tensor depth_to_space(const at::Tensor& y, const at::Tensor& residual, const std::array<int64_t, 3>& stride,
                          Scratch& scratch, FirstFrame first = FirstFrame::drop);
at::Tensor depth_to_space_reference(const at::Tensor& y, const at::Tensor& residual, const std::array<int64_t, 3>& stride,
                                    FirstFrame first = FirstFrame::drop);

/// The padding alone.
at::Tensor pad_frames(const at::Tensor& x, FramePadding padding);

}  // namespace ltxv::ops
