#pragma once
#include <cstdint>

#include "base/video_shape.h"

namespace ltxv {

/// The numbers of a latent upsampler.
struct UpsamplerConfig {
  int64_t channels = 128;      ///< of the latents
  int64_t width = 512;         ///< inside, a multiple of kUpsamplerGroups
  int64_t blocks_a_stage = 4;  ///< residual blocks before and again after the enlargement
  bool per_frame = false;      ///< plane convolutions, each frame alone; otherwise volumes
  bool spatial = true;         ///< twice the height and width
  bool temporal = false;       ///< T frames become 2T - 1
  bool operator==(const UpsamplerConfig&) const = default;
};

inline constexpr int64_t kUpsamplerGroups = 32;

inline LatentShape upsampled(const LatentShape& s, const UpsamplerConfig& c) {
  return {c.temporal ? 2 * s.frames - 1 : s.frames, s.height * (c.spatial ? 2 : 1), s.width * (c.spatial ? 2 : 1)};
}

}  // namespace ltxv
