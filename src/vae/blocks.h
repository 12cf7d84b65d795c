#pragma once
// The parts that video VAEs are built of. Volumes are [B,C,T,H,W]; blocks are const after construction and own their weights.
#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "base/run_context.h"
#include "base/tensor.h"
#include "conv3d/conv3d.h"
#include "vae/time_carry.h"
#include "vae/vae_config.h"
#include "vae_norm/vae_norm.h"
#include "weights/parameters.h"

namespace ltxv::vae {

/// What one pass through an encoder or decoder carries beside the volume.
struct Pass {
  RunContext* run = nullptr;
  ops::Scratch* scratch = nullptr;
  VaePath path = VaePath::fast;
  TimeCarry* carry = nullptr;  ///< the volume is a piece of the clip; decoders and causal encoders
  TimeCarry::Place* place() const { return carry ? &carry->next() : nullptr; }
  at::Tensor timestep;  ///< [B] f32, already scaled; undefined without timestep conditioning
  const std::function<at::Tensor(int64_t height, int64_t width)>* injected_noise = nullptr;
};

enum class SpatialPadding { zeros, reflect, replicate };
enum class TimePadding { causal, centred };  ///< two copies of the first frame in front, or one of each end frame

struct ConvOptions {
  TimePadding time = TimePadding::causal;
  SpatialPadding space = SpatialPadding::zeros;
  std::array<int64_t, 3> stride = {1, 1, 1};
};

/// What is added to a convolution's result. With a place in the carry the sum waits for the frames it belongs to.
struct Residual {
  at::Tensor x = {};  ///< undefined: nothing
  TimeCarry::Place* place = nullptr;
};

/// A 3x3x3 convolution that keeps the clip's length. With a carry the result is undefined where a piece gives no frame yet.
/// Shapes: x [B,in,T,H,W] -> [B,out,T',H/sh,W/sw], T' = (T-1)/st + 1.
/// Source: autoencoder_kl_ltx.py, LTXVideoCausalConv3d.
class Conv3d {
 public:
  Conv3d() = default;
  Conv3d(const Scope& at, int64_t in, int64_t out, const ConvOptions& options);
  at::Tensor operator()(const at::Tensor& x, const Pass& pass) const;
  /// SiLU(pixel norm(x) * (1 + scale) + shift), the convolution, and the sum with `residual` if there is one; the fast path may
  /// overwrite the residual. Shapes: shift, scale [B,in] f32 or undefined.
  at::Tensor normed(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, Residual residual, const Pass& pass) const;
  at::ScalarType dtype() const { return bias_.scalar_type(); }

 private:
  ops::FramePadding padding(const TimeCarry::Place* place, const Pass& pass) const;
  at::Tensor padded(at::Tensor x, const at::Tensor& residual, const Pass& pass) const;

  StoredWeight weight_;
  at::Tensor bias_;
  ConvOptions options_;
};

/// One element of a block list.
class Block {
 public:
  virtual ~Block() = default;
  /// Consumes the volume: its memory may be overwritten. Undefined where a piece gives no frame yet.
  virtual at::Tensor operator()(at::Tensor x, const Pass& pass) const = 0;
  /// The same in steps that can be taken apart from each other: pieces of a clip grow by a few frames in each where it ends.
  /// `embedding` is one for all steps and pieces of a pass.
  virtual size_t step_count() const { return 1; }
  virtual at::Tensor embedding(const Pass&) const { return {}; }
  virtual at::Tensor step(size_t /*index*/, at::Tensor x, const at::Tensor& /*embedding*/, const Pass& pass) const {
    return (*this)(std::move(x), pass);
  }
};

/// Builds an encoder block. Errors: BadWeights as Parameters; InternalError for a kind finish_vae_config lets through by mistake.
std::unique_ptr<Block> make_encoder_block(const Scope& at, const VaeBlock& block, const ConvOptions& conv);
std::unique_ptr<Block> make_decoder_block(const Scope& at, const VaeBlock& block, const ConvOptions& conv,
                                          bool timestep_conditioning);

/// Moves blocks of s = (st,sh,sw) positions into channels, channel order (c,t,h,w).
at::Tensor space_to_depth(const at::Tensor& x, const std::array<int64_t, 3>& s);

/// Folds p x p pixels into channels: colour slowest, then the column inside the patch, then the row.
/// Source: LTX-Video patchify, whose row and column are swapped against the usual pixel unshuffle.
at::Tensor patchify(const at::Tensor& pixels, int64_t p);
at::Tensor unpatchify(const at::Tensor& x, int64_t p);

}  // namespace ltxv::vae
