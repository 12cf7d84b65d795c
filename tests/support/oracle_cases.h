#pragma once
// What the developer checks against reference cases on disk share.
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/tensor_io.h"

namespace ltxv::test {

inline std::map<std::string, at::Tensor> load_case(const std::filesystem::path& path) {
  std::map<std::string, at::Tensor> out;
  const auto source = open_tensors(path.string());
  for (const auto& entry : source->entries()) out[entry.name] = to_tensor(entry, source);
  return out;
}

inline nlohmann::json read_json(const std::filesystem::path& path) { return nlohmann::json::parse(std::ifstream(path)); }

/// The checkpoint of a folder model_original.
inline std::filesystem::path original_file(const std::filesystem::path& folder) {
  for (const auto& file : std::filesystem::directory_iterator(folder))
    if (file.path().filename().string().rfind("ltxv-", 0) == 0) return file.path();
  throw IoError("no ltxv-* file in " + folder.string());
}

}  // namespace ltxv::test
