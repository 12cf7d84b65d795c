#pragma once
// What only LibTorch's CUDA part can do, from the C++ half of libltxv_cuda.so. This library does not link that part; a process that
// computes on the CPU never maps it.
#include <memory>
#include <string>

namespace ltxv::ops {

/// Work of one stream that is recorded once and then started as a whole (a CUDA graph). Addresses are recorded, values are not.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  /// From here to end() the current stream's work is recorded and not done. With `other`, both may use the same memory for what only
  /// lives inside: they must not run at the same time. Errors: c10::Error.
  virtual void begin(RecordedWork* other) = 0;
  virtual void end() = 0;
  /// Ends a recording that failed, so that the stream can be used again.
  virtual void give_up() noexcept = 0;
  virtual void replay() = 0;
};

/// What the plug-in's C++ part offers. It is built together with this library, from the same tree.
struct CudaServices {
  uint32_t version;
  /// Prepares a device. Returns why it cannot be used; empty: it can.
  std::string (*use_device)(int index);
  std::unique_ptr<RecordedWork> (*new_recording)();
  /// "CUDA 13.0, cuDNN 9.19.0": what is loaded at run time.
  std::string (*versions)();
  /// LibTorch's allocator holds at most this many bytes of the device from now on, in the whole process: above that it gives back what it
  /// keeps for later, and fails only then.
  void (*limit_memory)(int index, int64_t bytes);
};
inline constexpr uint32_t kCudaServicesVersion = 2;

/// Opens the plug-in; a second call is free. Returns why that failed, one line; empty: it is open.
std::string open_cuda_services();
/// Null before open_cuda_services succeeded.
const CudaServices* cuda_services();

}  // namespace ltxv::ops
