#pragma once
// The device that an engine computes on.
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <c10/core/Stream.h>

#include "base/tensor.h"
#include "pipeline/placement.h"

namespace ltxv {

struct ComputeDevice {
  at::Device device = at::kCPU;
  std::string name;          ///< of the device; empty for the CPU
  int64_t memory_bytes = 0;  ///< 0 for the CPU
  std::string note;          ///< for "auto": why it is the CPU
};

/// Opens what `word` names: for "auto" the first CUDA device where there is one, else the CPU. Loads the CUDA plug-in, and with it
/// LibTorch's CUDA part, only for a device.
/// Errors: InvalidArgument (no such word); DeviceError saying what is missing, never for "auto" or "cpu".
ComputeDevice open_compute_device(const std::string& word);
/// The same for each of several, "cuda:0,cuda:1" or "cpu,cpu".
std::vector<ComputeDevice> open_compute_devices(const std::string& words);
/// From now on the whole process keeps to so many bytes of a CUDA device's memory, its context included; does nothing for the CPU and for 0.
void limit_device_memory(const ComputeDevice& device, int64_t bytes);

/// Streams of a device that calls into one engine take and give back, so that one caller keeps the same one. Memory that LibTorch
/// holds back for one stream is of no use to another.
class StreamPool {
 public:
  explicit StreamPool(at::Device device) : device_(device) {}
  c10::Stream take();
  void give_back(c10::Stream stream);
  at::Device device() const { return device_; }

 private:
  at::Device device_;
  std::mutex mutex_;
  std::vector<c10::Stream> free_;
};

/// A stream of a pool for the life of this object, which waits for it at the end.
class PoolStream {
 public:
  explicit PoolStream(StreamPool& pool) : pool_(pool), stream_(pool.take()) {}
  ~PoolStream();
  PoolStream(const PoolStream&) = delete;
  PoolStream& operator=(const PoolStream&) = delete;
  c10::Stream get() const { return stream_; }

 private:
  StreamPool& pool_;
  c10::Stream stream_;
};

/// For the life of this object the calling thread computes on a stream of its own. Waits for it at the end: nothing is let go of that
/// is still in use. Does nothing for the CPU.
class OnDevice {
 public:
  explicit OnDevice(StreamPool& pool);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ltxv
