#include "cuda_plugin_file.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/own_folder.h"

namespace ltxv::ops {
namespace {

constexpr const char* kFile = "libltxv_cuda.so";

CudaPluginFile open_file() {
  CudaPluginFile file{.path = find_cuda_plugin(own_folder().string())};
  if (file.path.empty()) {
    file.problem = text(kFile, " is not beside the library: this build computes on the cpu only");
    return file;
  }
  // RTLD_LOCAL: kernels meet the library only through the table.
  file.library = dlopen(file.path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (file.library == nullptr) {
    const char* const why = dlerror();
    file.problem = text(file.path, " cannot be loaded: ", why ? why : "unknown error");
  }
  return file;
}

}  // namespace

std::string find_cuda_plugin(const std::string& folder) {
  for (const char* place : {"", "../lib"}) {
    std::error_code ignored;
    const auto path = (std::filesystem::path(folder) / place / kFile).lexically_normal();
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return "";
}

const CudaPluginFile& open_cuda_plugin_file() {
  static const CudaPluginFile file = open_file();
  return file;
}

}  // namespace ltxv::ops
