#pragma once
// All arithmetic between pixels and latents. The ratios come from the model's spec; nothing else in the library writes them.
#include <cstdint>

#include "base/error.h"

namespace ltxv {

/// How much the VAE compresses: `spatial` pixels a latent row or column, `temporal` frames a latent frame after the first.
struct Compression {
  int64_t spatial = 32;
  int64_t temporal = 8;
};

struct LatentShape {
  int64_t frames = 0, height = 0, width = 0;
  int64_t token_count() const { return frames * height * width; }
  bool operator==(const LatentShape&) const = default;
};

struct PixelShape {
  int64_t frames = 0, height = 0, width = 0;
  bool operator==(const PixelShape&) const = default;
};

/// Tl = (Tp - 1) / temporal + 1, Hl = Hp / spatial. Errors: InvalidArgument when the pixel shape is off the grid.
inline LatentShape latent_shape(const PixelShape& p, const Compression& c) {
  LTXV_CHECK(p.frames >= 1 && (p.frames - 1) % c.temporal == 0, "frame count ", p.frames, " is not ", c.temporal,
             "k+1 (nearest: ", (p.frames < 1 ? 0 : (p.frames - 1) / c.temporal) * c.temporal + 1, ")");
  LTXV_CHECK(p.height >= c.spatial && p.height % c.spatial == 0, "height ", p.height, " is not a multiple of ", c.spatial);
  LTXV_CHECK(p.width >= c.spatial && p.width % c.spatial == 0, "width ", p.width, " is not a multiple of ", c.spatial);
  return {(p.frames - 1) / c.temporal + 1, p.height / c.spatial, p.width / c.spatial};
}

inline PixelShape pixel_shape(const LatentShape& l, const Compression& c) {
  return {(l.frames - 1) * c.temporal + 1, l.height * c.spatial, l.width * c.spatial};
}

/// The smallest shape on the model's grid that holds `p`; the generated clip is cropped back to `p`.
/// Source: LTX-Video inference.py, calculate_padding and num_frames_padded.
inline PixelShape pad_to_grid(const PixelShape& p, const Compression& c) {
  const auto up = [](int64_t v, int64_t m) { return (v + m - 1) / m * m; };
  return {up(p.frames - 1, c.temporal) + 1, up(p.height, c.spatial), up(p.width, c.spatial)};
}

}  // namespace ltxv
