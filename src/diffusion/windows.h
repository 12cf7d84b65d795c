#pragma once
// Videos of any length as overlapping windows: each is sampled with the end of what came before in view, then fused to it.
// Source: diffusers pipeline_ltx_i2v_long_multi_prompt.py, which follows ComfyUI's LTXVLoopingSampler.
#include <optional>
#include <string>
#include <vector>

#include "diffusion/tokens.h"

namespace ltxv {

/// Latent frames [begin, end) of one window.
struct Window {
  int64_t begin = 0, end = 0;
  bool operator==(const Window&) const = default;
};

/// Windows of `size` latent frames, each `size - overlap` behind the one before (one at least); the last is cut at the end.
std::vector<Window> split_into_windows(int64_t latent_frames, int64_t size, int64_t overlap);

/// What one window sees beside its own latents, all normalised f32 [1,C,t,H,W]; undefined where there is none.
struct WindowContext {
  at::Tensor start;                ///< what its own frames start from instead of pure noise
  at::Tensor kept_latents;         ///< where they are kept, by `kept` f32 [1,1,t,H,W]: 1 keeps, 0 generates
  at::Tensor kept;
  at::Tensor first_image;          ///< becomes the window's first latents, over what is kept; only the first window has one
  double first_strength = 0;
  at::Tensor previous;             ///< the last latents of the output so far
  double previous_strength = 0;
  at::Tensor guide;                ///< latents that stand at the window's own frames, or for one window frame as well
  double guide_strength = 1;
  int64_t guide_begin = 0;         ///< the window's latent frame that they begin at
  int64_t guide_downscale = 1;     ///< how many times smaller than the video they are
  struct Keyframe {
    at::Tensor latents;      ///< of one picture
    int64_t frame = 0;       ///< of the window
    double strength = 1;
  };
  std::vector<Keyframe> keyframes;
  at::Tensor reference;            ///< one latent that stands before the video, kept as it is
};

/// Tokens of one window: its own first, then those of `previous`, `guide`, the keyframes and `reference`, which are dropped at the end.
struct WindowTokens {
  at::Tensor clean;        ///< f32 [1,N,C]
  at::Tensor start;        ///< f32 [1,N,C], what noise is mixed with at the schedule's first level; undefined: pure noise
  at::Tensor freedom;      ///< f32 [1,N,1]: 1 is generated, 0 is kept
  at::Tensor coordinates;  ///< i64 [3,N]
  LatentShape shape;       ///< of all of them; 0 frames with a smaller guide, whose tokens fill no frames of this size
};
/// `own` is the window's shape.   Shapes: as above.
WindowTokens window_tokens(const LatentShape& own, int64_t channels, const WindowContext& context, const Compression& compression);

/// clean and x by freedom: x f + clean (1 - f).
at::Tensor blend_kept(const at::Tensor& x, const WindowTokens& window);

/// One ancestral Euler step of a rectified flow from sigma to sigma_next. At eta 0 it is the plain Euler step. The last step, to 0,
/// takes no noise.   Shapes: x, velocity, noise f32 [1,N,C].
/// Source: diffusers scheduling_ltx_euler_ancestral_rf.py, step.
at::Tensor ancestral_step(const at::Tensor& x, const at::Tensor& velocity, float sigma, float sigma_next, double eta,
                          const at::Tensor& noise);

/// `tail` and `next` joined: their last and first `overlap` latents are cross-faded. An overlap below `shortest_fade` only joins and
/// makes one latent more than there should be at 1: the reference's way (2). What must stay beside a clip fades one latent, too (1).
/// Shapes: [1,C,t,H,W] both -> [1,C,t1 + t2 - overlap,H,W].
at::Tensor join_windows(const at::Tensor& tail, const at::Tensor& next, int64_t overlap, int64_t shortest_fade = 2);

/// "a | b | c" -> one prompt a window, white space at both ends removed.
std::vector<std::string> split_prompts(const std::string& prompts);

}  // namespace ltxv
