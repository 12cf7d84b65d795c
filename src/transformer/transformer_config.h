#pragma once
#include <array>
#include <cstdint>

namespace ltxv {

/// How large weights lie in memory: as in their file, in place, or as the matrix units read them (nn::Linear::pack).
enum class WeightOrder { of_file, packed };

/// Numbers of the diffusion transformer. D = head_count * head_width everywhere.
struct TransformerConfig {
  int64_t in_channels = 128, out_channels = 128;
  int64_t head_count = 32, head_width = 64;
  int64_t layer_count = 28;
  int64_t caption_channels = 4096;
  double norm_eps = 1e-6;        ///< block RMS norms and the final LayerNorm
  double qk_norm_eps = 1e-5;     ///< a different value than the block's, in every release
  double rope_theta = 10000.0;
  std::array<double, 3> rope_max_position = {20, 2048, 2048};  ///< seconds, pixels, pixels
  double timestep_scale = 1000;
  bool causal_positions = false;  ///< latent frame f sits at pixel frame max(0, 8f - 7) instead of 8f

  int64_t width() const { return head_count * head_width; }
};

}  // namespace ltxv
