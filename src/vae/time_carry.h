#pragma once
// Running the later part of a decoder, or a causal encoder, through a clip in pieces of time, so that memory does not grow with the clip.
// Every layer that looks beyond its own frame keeps what it needs of the piece before, and nothing is computed twice: the frames are those of
// the whole clip but for the order of sums.
#include <array>
#include <deque>
#include <vector>

#include "base/tensor.h"
#include "scratch.h"
#include "vae/vae_config.h"
#include "vae_norm/vae_norm.h"

namespace ltxv::vae {

/// What one stage of a network, its layers one after the other, carries from piece to piece.
class TimeCarry {
 public:
  /// What one layer keeps.
  struct Place {
    at::Tensor kept;
    bool started = false;
  };

  /// Call before each piece.
  void start_piece(bool is_last) { is_last_ = is_last, next_ = 0; }
  /// The place of the next layer. Layers ask in the same order in every piece; where one has no frame to give yet, the stage ends there, and
  /// those behind it have not started.
  Place& next();

  /// Frames to repeat around a piece before a 3-frame convolution: what `of_clip` asks at the ends of the clip, and room for the two
  /// frames before the piece elsewhere.
  ops::FramePadding padding(const Place& convolution, const ops::FramePadding& of_clip) const;
  /// Puts the two frames before the piece into the room padding() made and keeps the last two. False: with them there are fewer than three,
  /// so no frame comes out yet. Shapes: x [B,C,n,H,W], n >= 2.
  bool join_(Place& convolution, at::Tensor& x) const;

  /// The next `count` frames of a signal that runs beside convolutions, which in the first pieces give fewer frames than they get.
  /// Shapes: x [B,C,T,H,W] -> [B,C,count,H,W]; the rest waits for the next piece.
  static at::Tensor delayed(Place& signal, const at::Tensor& x, int64_t count, ops::Scratch& scratch);

 private:
  std::deque<Place> places_;
  size_t next_ = 0;
  bool is_last_ = true;
};

/// How a decoder goes through a clip. Its stages: the first convolution, each step of the blocks, the last convolution.
struct PiecePlan {
  size_t from = 0;                     ///< first stage that sees the clip in pieces; their number: none does
  std::vector<int64_t> frame_counts;   ///< most frames of a piece in front of each stage, from that one on
};

/// Chooses the pieces so that no volume has more than `largest_volume` elements, or not many more where two frames do: the decoder's
/// convolutions of the host make two frames at once. Shapes: latent = frames, height, width.
PiecePlan plan_pieces(const VaeConfig& config, const std::array<int64_t, 3>& latent, int64_t largest_volume);

}  // namespace ltxv::vae
