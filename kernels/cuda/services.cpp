// The plug-in's C++ part: what needs LibTorch's CUDA libraries. Built into libltxv_cuda.so only.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <algorithm>

#include "base/error.h"
#include "cuda_services.h"

namespace ltxv::ops {
namespace {

class Graph : public RecordedWork {
 public:
  void begin(RecordedWork* other) override {
    // Of this thread only: other threads may allocate and copy meanwhile.
    graph_.capture_begin(other ? static_cast<Graph*>(other)->graph_.pool() : at::cuda::graph_pool_handle(), cudaStreamCaptureModeThreadLocal);
    recording_ = true;
  }
  void end() override {
    recording_ = false;
    graph_.capture_end();
  }
  void give_up() noexcept override {
    try {
      if (recording_) end();
    } catch (...) {  // that it failed is known
    }
    (void)cudaGetLastError();
  }
  void replay() override { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
  bool recording_ = false;
};

std::string use_device(int index) {
  // LibTorch looks for its CUDA part once. Where something asked before this library was loaded, as a convolution on the CPU does, it
  // will not look again.
  if (!at::detail::getCUDAHooks().compiledWithCuDNN()) {
    return "LibTorch was used in this process before its CUDA part was loaded; open the engine on the device before one on the cpu";
  }
  try {
    if (index >= c10::cuda::device_count()) return "LibTorch does not see the device: its CUDA version may be newer than the driver";
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    cudaDeviceProp properties;
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) return cudaGetErrorString(error);
    // Below that neither bf16 nor the kernels run.
    if (properties.major < 8) {
      return text("compute capability ", properties.major, ".", properties.minor, " is too old, 8.0 or newer is needed");
    }
    // fp32 means fp32: LibTorch lets convolutions round to ten bits by default.
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
  } catch (const c10::Error& e) {
    const std::string message = e.msg();
    return message.substr(0, message.find('\n'));
  }
  return "";
}

std::unique_ptr<RecordedWork> new_recording() { return std::make_unique<Graph>(); }

std::string versions() {
  int runtime = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  const long cudnn = at::detail::getCUDAHooks().versionRuntimeCuDNN();
  return text("CUDA ", runtime / 1000, ".", runtime % 1000 / 10, ", cuDNN ", cudnn / 10000, ".", cudnn / 100 % 100, ".", cudnn % 100);
}

void limit_memory(int index, int64_t bytes) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return;  // the next allocation says so
  const double share = static_cast<double>(bytes) / static_cast<double>(properties.totalGlobalMem);
  c10::cuda::CUDACachingAllocator::setMemoryFraction(std::min(share, 1.0), static_cast<c10::DeviceIndex>(index));
}

constexpr CudaServices kServices{kCudaServicesVersion, use_device, new_recording, versions, limit_memory};

}  // namespace
}  // namespace ltxv::ops

extern "C" __attribute__((visibility("default"))) const ltxv::ops::CudaServices* ltxv_cuda_services() {
  return &ltxv::ops::kServices;
}
