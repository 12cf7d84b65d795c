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

/// What one pass carries from piece to piece. The layers ask in their order of execution, the same one in every piece.
class TimeCarry {
 public:
  /// Call before each piece.
  void start_piece(bool is_first, bool is_last);
  bool is_first() const { return is_first_; }

  /// Frames to repeat around a piece before a 3-frame convolution: what `of_clip` asks at the ends of the clip, and room for the two
  /// frames before the piece elsewhere.
  ops::FramePadding padding(const ops::FramePadding& of_clip) const;
  /// Puts the two frames before the piece into the room padding() made and keeps the last two. Shapes: x [B,C,n,H,W], n >= 3.
  void join_(at::Tensor& x);

  /// The next `count` frames of a signal that runs beside convolutions, which in the first piece give fewer frames than they get.
  /// Shapes: x [B,C,T,H,W] -> [B,C,count,H,W]; the rest waits for the next piece.
  at::Tensor delayed(const at::Tensor& x, int64_t count, ops::Scratch& scratch);

  /// A value of the first piece that stays: `make` is called once.
  template <class Make>
  const at::Tensor& once(const Make& make) {
    at::Tensor& value = next();
    if (is_first_) value = make();
    return value;
  }

 private:
  at::Tensor& next();

  std::deque<at::Tensor> kept_;
  size_t next_ = 0;
  bool is_first_ = true, is_last_ = true;
};

/// How the decoder's blocks [from, end) and what follows them go through a clip.
struct PiecePlan {
  size_t from = 0;                  ///< first block that runs in pieces; the list's length: none does
  std::vector<int64_t> frame_counts;  ///< of each piece, counted in front of that block
};

/// Chooses the pieces so that no volume of them has many more than `largest_volume` elements; the first piece must at least hold the
/// frames on which the first frame of the result depends. Shapes: latent = frames, height, width.
PiecePlan plan_pieces(const VaeConfig& config, const std::array<int64_t, 3>& latent, int64_t largest_volume);

}  // namespace ltxv::vae
