#pragma once
// Where libltxv_cuda.so is, and the one way to open it. Torch-free.
#include <string>

namespace ltxv::ops {

/// Beside the library, or in ../lib, where a build tree has it beside the folder of programs that hold the library's code. Empty: nowhere.
std::string find_cuda_plugin(const std::string& folder);

struct CudaPluginFile {
  void* library = nullptr;  ///< for dlsym; nullptr: not open, and `problem` says why, in one line
  std::string path, problem;
};

/// Opens the plug-in of this library, once a process; it is never closed, since LibTorch does not survive that. All symbols are
/// resolved at once: a missing library shows here, not in the middle of a run.
const CudaPluginFile& open_cuda_plugin_file();

}  // namespace ltxv::ops
