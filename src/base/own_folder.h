#pragma once
#include <dlfcn.h>

#include <filesystem>

namespace ltxv {

/// Where the file lies that holds this code: lib/ of libltxv.so, or bin/ of a program that links its parts. "." where that is unknown.
inline std::filesystem::path own_folder() {
  static const char inside = 0;
  Dl_info file{};
  if (dladdr(&inside, &file) == 0 || file.dli_fname == nullptr) return ".";
  std::error_code failed;
  const auto path = std::filesystem::canonical(file.dli_fname, failed);
  return failed ? std::filesystem::path(".") : path.parent_path();
}

}  // namespace ltxv
