#pragma once
// Enlarges latents by a small convolutional network: twice the height and width, twice the frames, or both.
#include <vector>

#include "base/run_context.h"
#include "base/tensor.h"
#include "upscale/upsampler_config.h"
#include "weights/parameters.h"

namespace ltxv {

/// Immutable after construction; calls from several threads are independent.
class LatentUpsampler {
 public:
  /// Claims every tensor, then calls parameters.finish(). Errors: as Parameters.
  LatentUpsampler(const UpsamplerConfig& config, Parameters& parameters);

  const UpsamplerConfig& config() const { return config_; }

  /// Takes and gives raw latents: the caller undoes the per-channel statistics before and applies them after.
  /// Shapes: [B,C,T,H,W] from anywhere -> f32 [B,C,T',H',W'] as upsampled(), on the weights' device.   Errors: InvalidArgument (shape), Cancelled.
  /// Source: LTX-Video models/autoencoders/latent_upsampler.py, LatentUpsampler.forward.
  at::Tensor forward(const at::Tensor& raw_latents, const RunContext& run) const;

 private:
  struct Conv {
    at::Tensor weight, bias;
  };
  struct Norm {
    at::Tensor weight, bias;
  };
  struct Block {
    Conv conv1, conv2;
    Norm norm1, norm2;
  };
  static at::Tensor convolve(const Conv& conv, const at::Tensor& x);
  at::Tensor normalise(const Norm& norm, const at::Tensor& x) const;
  at::Tensor run_blocks(const std::vector<Block>& blocks, at::Tensor x, const RunContext& run) const;

  UpsamplerConfig config_;
  Conv first_conv_, enlarging_conv_, last_conv_;
  Norm first_norm_;
  std::vector<Block> blocks_before_, blocks_after_;
};

}  // namespace ltxv
