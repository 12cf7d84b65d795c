#include "cuda_services.h"

#include <dlfcn.h>

#include <atomic>
#include <mutex>

#include "base/error.h"

namespace ltxv::ops {
namespace {

// A process has one CUDA part of LibTorch, so it has one plug-in.
std::atomic<const CudaServices*>& services() {
  static std::atomic<const CudaServices*> found{nullptr};
  return found;
}

}  // namespace

std::string open_cuda_services(const std::string& path) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (cuda_services()) return "";
  // All symbols at once: a missing library shows here, not in the middle of a run. Never closed: LibTorch does not survive that.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* const why = dlerror();
    return text(path, " cannot be loaded: ", why ? why : "unknown error");
  }
  using Entry = const CudaServices* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "ltxv_cuda_services"));
  const CudaServices* const found = entry ? entry() : nullptr;
  if (found == nullptr || found->version != kCudaServicesVersion) return text(path, " belongs to another version of this library");
  services() = found;
  return "";
}

const CudaServices* cuda_services() { return services(); }

}  // namespace ltxv::ops
