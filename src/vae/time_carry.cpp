#include "vae/time_carry.h"

#include <algorithm>

#include "base/error.h"

namespace ltxv::vae {

TimeCarry::Place& TimeCarry::next() {
  if (next_ == places_.size()) places_.emplace_back();
  return places_[next_++];
}

ops::FramePadding TimeCarry::padding(const Place& convolution, const ops::FramePadding& of_clip) const {
  return {.front = convolution.started ? 2 : of_clip.front, .back = is_last_ ? of_clip.back : 0};
}

bool TimeCarry::join_(Place& convolution, at::Tensor& x) const {
  const int64_t count = x.size(2);
  LTXV_ASSERT(count >= 2, "a piece of ", count, " frames in front of a convolution");
  if (convolution.started) x.narrow(2, 0, 2).copy_(convolution.kept);
  convolution.started = true;
  convolution.kept = is_last_ ? at::Tensor() : x.narrow(2, count - 2, 2).clone();
  return count >= 3;
}

at::Tensor TimeCarry::delayed(Place& signal, const at::Tensor& x, int64_t count, ops::Scratch& scratch) {
  at::Tensor& waiting = signal.kept;
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
  constexpr int64_t kFewestFrames = 2;
  int64_t frames = latent[0], positions = latent[1] * latent[2];
  size_t stage = 0;
  bool in_pieces = false;
  PiecePlan plan;
  const auto add = [&](const std::array<int64_t, 3>& stride, int64_t channels) {
    frames = frames * stride[0] - (stride[0] - 1);
    positions *= stride[1] * stride[2];
    if (!in_pieces && positions * channels * frames > largest_volume) in_pieces = true, plan.from = stage;
    // One frame in front of the stage becomes stride[0] behind it.
    if (in_pieces) plan.frame_counts.push_back(std::max(kFewestFrames, largest_volume / (positions * channels * stride[0])));
    ++stage;
  };
  add({1, 1, 1}, config.decoder_width);
  for (const VaeBlock& block : config.decoder_blocks)
    for (int64_t step = 0; step < (block.kind == "res_x" ? block.layer_count : 1); ++step) add(vae_block_stride(block), block.out_channels);
  add({1, 1, 1}, config.out_channels * config.patch_size * config.patch_size);
  if (!in_pieces) plan.from = stage;
  return plan;
}

}  // namespace ltxv::vae
