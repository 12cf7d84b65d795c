#include "vae/time_carry.h"

#include <algorithm>

#include "base/error.h"

namespace ltxv::vae {
namespace {

/// Frames in front of block `from` that the first `result` frames behind the decoder's last convolution depend on.
int64_t frames_needed(const VaeConfig& config, size_t from, int64_t result) {
  const int64_t ahead = config.decoder_causal ? 0 : 1;  // a centred convolution looks one frame ahead
  int64_t need = result + ahead;
  for (size_t i = config.decoder_blocks.size(); i-- > from;) {
    const VaeBlock& block = config.decoder_blocks[i];
    if (block.kind == "res_x") {
      need += 2 * block.layer_count * ahead;
    } else if (block.kind == "res_x_y") {
      need += 2 * ahead;
    } else {
      const int64_t stride = vae_block_stride(block)[0];
      need = (need + stride - 1 + stride - 1) / stride + ahead;  // n frames become stride * n - (stride - 1), rounded up
    }
  }
  return need;
}

}  // namespace

void TimeCarry::start_piece(bool is_first, bool is_last) {
  is_first_ = is_first;
  is_last_ = is_last;
  next_ = 0;
}

at::Tensor& TimeCarry::next() {
  if (next_ == kept_.size()) kept_.emplace_back();
  return kept_[next_++];
}

ops::FramePadding TimeCarry::padding(const ops::FramePadding& of_clip) const {
  return {.front = is_first_ ? of_clip.front : 2, .back = is_last_ ? of_clip.back : 0};
}

void TimeCarry::join_(at::Tensor& x) {
  LTXV_ASSERT(x.size(2) >= 3, "a piece of ", x.size(2), " frames in front of a convolution");
  at::Tensor& before = next();
  if (!is_first_) x.narrow(2, 0, 2).copy_(before);
  before = is_last_ ? at::Tensor() : x.narrow(2, x.size(2) - 2, 2).clone();
}

at::Tensor TimeCarry::delayed(const at::Tensor& x, int64_t count, ops::Scratch& scratch) {
  at::Tensor& waiting = next();
  const int64_t early = waiting.defined() ? waiting.size(2) : 0, total = early + x.size(2);
  LTXV_ASSERT(count <= total, "a delay of ", count - total, " frames too many");
  at::Tensor all = x;
  if (early > 0) {
    all = scratch.take_volume(x.size(0), x.size(1), total, x.size(3), x.size(4), x.scalar_type());
    all.narrow(2, 0, early).copy_(waiting);
    all.narrow(2, early, x.size(2)).copy_(x);
  }
  waiting = count < total ? all.narrow(2, count, total - count).clone() : at::Tensor();
  return all.narrow(2, 0, count);
}

PiecePlan plan_pieces(const VaeConfig& config, const std::array<int64_t, 3>& latent, int64_t largest_volume) {
  const std::vector<VaeBlock>& blocks = config.decoder_blocks;
  // Elements behind each block for one frame in front of it, and the frames there.
  int64_t frames = latent[0], positions = latent[1] * latent[2];
  PiecePlan plan{.from = blocks.size()};
  int64_t frames_at_start = 0, elements_of_a_frame = 0, growth = 1;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto s = vae_block_stride(blocks[i]);
    const int64_t frames_before = frames;
    frames = frames * s[0] - (s[0] - 1);
    positions *= s[1] * s[2];
    const int64_t elements = positions * blocks[i].out_channels;
    if (plan.from == blocks.size() && elements * frames > largest_volume) {
      plan.from = i;
      frames_at_start = frames_before;
    }
    if (plan.from == blocks.size()) continue;
    growth *= s[0];
    elements_of_a_frame = std::max(elements_of_a_frame, elements * growth);
  }
  if (plan.from == blocks.size()) return plan;
  const int64_t piece = std::max<int64_t>(1, largest_volume / elements_of_a_frame);
  const int64_t first = std::max(piece, frames_needed(config, plan.from, 1));
  for (int64_t done = 0, next = first; done < frames_at_start; done += plan.frame_counts.back(), next = piece) {
    plan.frame_counts.push_back(std::min(next, frames_at_start - done));
  }
  if (plan.frame_counts.size() == 1) return {.from = blocks.size()};
  return plan;
}

}  // namespace ltxv::vae
