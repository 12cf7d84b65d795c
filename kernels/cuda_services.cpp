#include "cuda_services.h"

#include <dlfcn.h>

#include <atomic>
#include <mutex>

#include "base/error.h"
#include "cuda_plugin_file.h"

namespace ltxv::ops {
namespace {

// A process has one CUDA part of LibTorch, so it has one plug-in.
std::atomic<const CudaServices*>& services() {
  static std::atomic<const CudaServices*> found{nullptr};
  return found;
}

}  // namespace

std::string open_cuda_services() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (cuda_services()) return "";
  const CudaPluginFile& file = open_cuda_plugin_file();
  if (file.library == nullptr) return file.problem;
  using Entry = const CudaServices* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(file.library, "ltxv_cuda_services"));
  const CudaServices* const found = entry ? entry() : nullptr;
  if (found == nullptr || found->version != kCudaServicesVersion) return text(file.path, " belongs to another version of this library");
  services() = found;
  return "";
}

const CudaServices* cuda_services() { return services(); }

}  // namespace ltxv::ops
