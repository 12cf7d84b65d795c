#pragma once
// The video VAE: pixels to latents and back.
#include <functional>
#include <memory>
#include <vector>

#include "base/run_context.h"
#include "base/tensor.h"
#include "vae/vae_config.h"
#include "weights/parameters.h"

namespace ltxv {

namespace vae {
class TimeCarry;
}

struct DecodeOptions {
  /// The noise level the decoder is told, in [0,1]; used only with timestep conditioning.
  double timestep = 0.05;
  /// Returns one noise map [height, width]; called in execution order, once a map of injected_noise_shapes(). Empty: zeros.
  std::function<at::Tensor(int64_t height, int64_t width)> injected_noise;
  /// Elements of a volume above which the rest of the decoder goes through the clip in pieces of time: memory stops growing with
  /// the clip, and the frames change by no more than rounding.
  int64_t largest_volume = kLargestVolume;
  /// Takes frames f32 [B,3,t,Hp,Wp] in the host's memory as they are finished, in order; the result is then undefined.
  std::function<void(const at::Tensor& frames)> take = {};
};

/// Where an encoder stands in a clip that it goes through in pieces of time. Belongs to one clip; holds what the causal layers need of
/// the piece before, some frames a layer.
class EncodeCarry {
 public:
  EncodeCarry();
  ~EncodeCarry();
  EncodeCarry(EncodeCarry&&) noexcept;
  EncodeCarry& operator=(EncodeCarry&&) noexcept;
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// Immutable after construction; calls from several threads are independent.
class VideoVae {
 public:
  /// Claims every tensor of `parts` and the statistics, then calls parameters.finish(). The configuration must have passed
  /// finish_vae_config, and the key map of `parameters` must drop what `parts` leaves out.
  /// Errors: as Parameters; BadWeights for a standard deviation that is not positive.
  VideoVae(const VaeConfig& config, Parameters& parameters, VaeParts parts = VaeParts::both, VaePath path = VaePath::fast);
  ~VideoVae();
  VideoVae(VideoVae&&) noexcept;
  VideoVae& operator=(VideoVae&&) noexcept;

  const VaeConfig& config() const { return config_; }
  at::Device device() const { return mean_.device(); }

  /// The mean of the posterior, normalised or raw, on the weights' device.
  /// Shapes: pixels [B,3,T,H,W] f32 in [-1,1], T = temporal k + 1, H and W multiples of the spatial compression
  ///         -> [B,C,Tl,Hl,Wl] f32.
  /// A causal encoder goes through a clip whose first volume has more elements than `largest_volume` in pieces of time.
  /// Errors: InvalidArgument (shape off the grid, no encoder loaded), Cancelled.
  at::Tensor encode(const at::Tensor& pixels, RunContext& run, int64_t largest_volume = kLargestVolume) const;
  at::Tensor encode_raw(const at::Tensor& pixels, RunContext& run, int64_t largest_volume = kLargestVolume) const;
  /// Latents of the next piece of a clip, normalised: those of the whole clip but for the order of sums. Causal encoders only.
  /// Shapes: pixels as above, T = temporal k + 1 in the first piece, temporal k in later ones -> k + 1 latents, later k.
  /// Errors: as encode; InternalError for an encoder that looks ahead.
  at::Tensor encode_next(const at::Tensor& pixels, EncodeCarry& carry, RunContext& run, int64_t largest_volume = kLargestVolume) const;

  /// Pixels before clamping, in the host's memory. Mixing noise into the latents is the caller's business.
  /// Shapes: latents [B,C,Tl,Hl,Wl] -> [B,3,Tp,Hp,Wp] f32.
  /// Errors: InvalidArgument (shape, timestep outside [0,1], no decoder loaded), NumericError (a pixel is NaN or Inf), Cancelled.
  at::Tensor decode(const at::Tensor& latents, const DecodeOptions& options, RunContext& run) const;
  at::Tensor decode_raw(const at::Tensor& raw_latents, const DecodeOptions& options, RunContext& run) const;

  /// (raw - mean) * scaling_factor / std per channel, in f32, and back.
  at::Tensor normalise(const at::Tensor& raw_latents) const;
  at::Tensor denormalise(const at::Tensor& latents) const;

  /// Height and width of every injected noise map of one decode, in the order of the calls. Empty for most models.
  std::vector<std::array<int64_t, 2>> injected_noise_shapes(int64_t latent_height, int64_t latent_width) const;

 private:
  struct Encoder;
  struct Decoder;
  void check_pixels(const at::Tensor& pixels, bool is_later_piece) const;
  /// `is_last`: nothing has to be kept for a piece behind these pixels.
  at::Tensor encode_pieces(const at::Tensor& pixels, EncodeCarry::Impl& carry, bool is_last, RunContext& run, int64_t largest_volume) const;
  at::Tensor encode_volume(const at::Tensor& pixels, vae::TimeCarry* carry, RunContext& run) const;
  VaeConfig config_;
  VaePath path_;
  std::unique_ptr<Encoder> encoder_;
  std::unique_ptr<Decoder> decoder_;
  at::Tensor mean_, std_;  // [1,C,1,1,1] f32
};

}  // namespace ltxv
