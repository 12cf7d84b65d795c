#pragma once
// What a video VAE is made of, independent of the file layout it was read from. Torch-free.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/video_shape.h"

namespace ltxv {

/// One entry of an encoder's or decoder's block list. Kinds:
///   res_x               `layer_count` residual blocks of equal width
///   res_x_y             one residual block that changes the width
///   compress_all | compress_space | compress_time | compress_all_x_y
///                       encoder: a strided convolution (the last one changes the width);
///                       decoder: depth-to-space, width divided by `multiplier`, plus the tiled input if `residual`
///   compress_all_res | compress_space_res | compress_time_res
///                       encoder only: space-to-depth plus the group-averaged input
/// Source: ltx_video/models/autoencoders/causal_video_autoencoder.py, Encoder and Decoder.
struct VaeBlock {
  std::string kind;
  int64_t in_channels = 0, out_channels = 0;
  int64_t layer_count = 1;
  int64_t multiplier = 1;
  bool residual = false;
  bool inject_noise = false;
  bool operator==(const VaeBlock&) const = default;
};

/// Widths are explicit in every block; both lists are in execution order, and their index is the index in the tensor names.
struct VaeConfig {
  int64_t in_channels = 3, out_channels = 3;
  int64_t latent_channels = 128;
  int64_t patch_size = 4;
  int64_t encoder_width = 128;  ///< channels after the encoder's first convolution
  int64_t decoder_width = 512;  ///< channels after the decoder's first convolution
  std::vector<VaeBlock> encoder_blocks, decoder_blocks;
  bool timestep_conditioning = false;
  bool encoder_causal = true, decoder_causal = false;
  double scaling_factor = 1;
  std::string spatial_padding_mode = "zeros";
  Compression compression;  ///< follows from the block lists; set by finish_vae_config
  bool operator==(const VaeConfig&) const;
};

/// Elements of a volume above which a clip goes through in pieces, where memory is not counted otherwise: 128 MiB in f32.
inline constexpr int64_t kLargestVolume = 32 << 20;

/// Which half of the weights is wanted; the other half is then neither read nor kept.
enum class VaeParts { both, encoder, decoder };

/// fast: fused kernels where the arguments allow them; plain: ATen operations only, the reference beside it.
enum class VaePath { fast, plain };

/// Sub-positions (time, height, width) a compress_* block folds or unfolds; {1,1,1} for the residual kinds.
std::array<int64_t, 3> vae_block_stride(const VaeBlock& block);

/// Height and width of every noise map that one decode of latents of this size injects, in the order of use. Empty for most models.
std::vector<std::array<int64_t, 2>> injected_noise_shapes(const VaeConfig& config, int64_t latent_height, int64_t latent_width);

/// Checks that the lists hang together (kinds, widths, divisibility) and sets `compression`.
/// Errors: BadWeights (widths that do not fit), Unsupported (a kind or combination this library does not compute); messages
/// start with `where`, the name of the file the configuration came from.
void finish_vae_config(VaeConfig& config, const std::string& where);

}  // namespace ltxv
