#pragma once
// Big buffers that are used again. A freed tensor of more than 32 MiB goes back to the system, and the next one is cleared page by
// page: at VAE sizes that costs more than the arithmetic between convolutions.
#include <vector>

#include "base/tensor.h"

namespace ltxv::ops {

/// A pool that lives as long as one pass through a network. Not for several threads at once. On a device every request goes to
/// LibTorch's allocator, which is such a pool itself.
class Scratch {
 public:
  explicit Scratch(at::Device device = at::kCPU) : device_(device) {}
  /// An uninitialised contiguous tensor. Its memory returns to the pool when the last tensor that shares it is gone.
  at::Tensor take(at::IntArrayRef sizes, at::ScalarType dtype);
  /// The same for a volume: logically [B,C,T,H,W], stored [B,T,H,W,C].
  at::Tensor take_volume(int64_t b, int64_t c, int64_t t, int64_t h, int64_t w, at::ScalarType dtype);
  /// A volume of the other's values in that storage order: itself if it is stored so already.
  at::Tensor as_volume(const at::Tensor& x);

 private:
  struct Block {
    at::Tensor bytes;  // [n] u8
    int64_t last_taken;
  };
  at::Device device_;
  std::vector<Block> blocks_;
  int64_t clock_ = 0;
};

/// Whether a [B,C,T,H,W] tensor is stored [B,T,H,W,C] without gaps.
bool is_channels_last(const at::Tensor& x);

}  // namespace ltxv::ops
