#pragma once
// What this process could compute on beside the CPU, found out without loading LibTorch's CUDA part. Torch-free.
#include <cstdint>
#include <string>
#include <vector>

namespace ltxv {

struct CudaDevice {
  std::string name;            ///< "NVIDIA H100 80GB HBM3"
  int major = 0, minor = 0;    ///< compute capability
  int64_t memory_bytes = 0;
};

struct CudaProbe {
  std::string plugin;               ///< path of libltxv_cuda.so; empty: there is none
  std::vector<CudaDevice> devices;  ///< in the driver's order, as CUDA_VISIBLE_DEVICES leaves them
  std::string missing;              ///< why nothing can be computed on CUDA, one line; empty: it can
};

/// Looks for the plug-in in the folder of this library, for the driver, and asks it for its devices. Loads the driver's library and
/// nothing else.
CudaProbe probe_cuda();

/// The same of a given folder and driver library: what tests reach.
CudaProbe probe_cuda(const std::string& folder, const char* driver);

}  // namespace ltxv
