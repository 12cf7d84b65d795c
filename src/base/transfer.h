#pragma once
// Tensors between the host and a compute device. Nothing here waits for the device unless it says so.
#include <deque>

#include <c10/core/Event.h>

#include "base/tensor.h"

namespace ltxv {

/// `t` on `device`, itself if it is there. Host memory reaches a CUDA device through page-locked memory, in the order of the current
/// stream, without waiting (above 64 MiB it does wait). A tensor that is not defined stays so.
at::Tensor to_device(const at::Tensor& t, at::Device device);
/// `t` in host memory; waits until it is there.
at::Tensor to_host(const at::Tensor& t);
/// The same into memory that is there, converting to its dtype: large tensors of a CUDA device cross in their own dtype through two
/// page-locked buffers, one filled by the device while all threads empty the other. Shapes: equal; `out` contiguous, on the host.
void to_host(const at::Tensor& t, at::Tensor out);

/// Waits for everything the current stream of a device was given. Does nothing for the host.
void wait_for(at::Device device);
/// Gives memory of a device that LibTorch keeps for later back to the driver.
void release_cached_memory(at::Device device);

/// Copies many large tensors to one device through two page-locked buffers: one is filled, converting as needed, while the device
/// reads the other.
class Uploader {
 public:
  explicit Uploader(at::Device device) : device_(device) {}
  /// Shapes: any, contiguous -> the same in `dtype` on the device. Copies are in the order of the current stream.
  at::Tensor upload(const at::Tensor& values, at::ScalarType dtype);
  /// The same into a tensor that is there. Shapes: equal, both contiguous.
  void copy(const at::Tensor& values, at::Tensor& to);
  at::Device device() const { return device_; }

 private:
  struct Stage {
    at::Tensor bytes;  // page-locked u8
    c10::Event free;
  };
  Stage& next_stage();

  at::Device device_;
  std::deque<Stage> stages_;
  size_t turn_ = 0;
};

}  // namespace ltxv
