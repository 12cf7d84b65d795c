#include "pipeline/cuda_probe.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/own_folder.h"
#include "cuda_plugin_file.h"

namespace ltxv {
namespace {

// The few functions of the driver's API that are asked, by their documented C signatures. Handles are plain ints there.
struct Driver {
  int (*init)(unsigned flags) = nullptr;
  int (*count)(int* count) = nullptr;
  int (*get)(int* device, int ordinal) = nullptr;
  int (*name)(char* name, int size, int device) = nullptr;
  int (*attribute)(int* value, int attribute, int device) = nullptr;
  int (*memory)(size_t* bytes, int device) = nullptr;
  int (*error_name)(int error, const char** name) = nullptr;
};

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

std::vector<CudaDevice> devices_of(const Driver& driver, int count) {
  constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    int handle = 0;
    char name[256] = {};
    size_t bytes = 0;
    CudaDevice device;
    if (driver.get(&handle, i) != 0 || driver.name(name, sizeof name - 1, handle) != 0 || driver.memory(&bytes, handle) != 0 ||
        driver.attribute(&device.major, kMajor, handle) != 0 || driver.attribute(&device.minor, kMinor, handle) != 0)
      break;
    device.name = name;
    device.memory_bytes = static_cast<int64_t>(bytes);
    devices.push_back(device);
  }
  return devices;
}

}  // namespace

CudaProbe probe_cuda(const std::string& folder, const char* driver_library) {
  CudaProbe probe;
  probe.plugin = ops::find_cuda_plugin(folder);
  // Never closed: the driver stays loaded for as long as it has been initialised.
  void* const library = dlopen(driver_library, RTLD_NOW | RTLD_LOCAL);
  Driver driver;
  std::string trouble;
  if (library == nullptr) {
    trouble = text("no NVIDIA driver (", driver_library, " cannot be loaded)");
  } else if (!find(library, "cuInit", driver.init) || !find(library, "cuDeviceGetCount", driver.count) ||
             !find(library, "cuDeviceGet", driver.get) || !find(library, "cuDeviceGetName", driver.name) ||
             !find(library, "cuDeviceGetAttribute", driver.attribute) || !find(library, "cuDeviceTotalMem_v2", driver.memory) ||
             !find(library, "cuGetErrorName", driver.error_name)) {
    trouble = text("the NVIDIA driver ", driver_library, " lacks functions that are needed");
  } else {
    int count = 0;
    int problem = driver.init(0);
    if (problem == 0) problem = driver.count(&count);
    const char* name = nullptr;
    if (problem != 0 && (driver.error_name(problem, &name) != 0 || name == nullptr)) name = "unknown error";
    if (problem != 0) {
      trouble = text("the NVIDIA driver reports ", name, " (", problem, ")");
    } else {
      probe.devices = devices_of(driver, count);
      if (probe.devices.empty()) trouble = "the NVIDIA driver reports no device";
    }
  }
  if (probe.plugin.empty()) {
    probe.missing = text("libltxv_cuda.so is not in ", folder,
                         LTXV_CUDA_BUILT ? ", where this build put it" : ": this build was made without CUDA (LTXV_CUDA)");
  } else {
    probe.missing = trouble;
  }
  return probe;
}

CudaProbe probe_cuda() { return probe_cuda(own_folder().string(), "libcuda.so.1"); }

}  // namespace ltxv
