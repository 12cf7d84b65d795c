#include "weights/tensor_source.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "weights/file_bytes.h"
#include "weights/gguf.h"
#include "weights/safetensors.h"

namespace ltxv {
namespace {

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

}  // namespace

const TensorEntry* TensorSource::find(std::string_view name) const {
  const auto& all = entries();
  const auto at = std::lower_bound(all.begin(), all.end(), name,
                                   [](const TensorEntry& e, std::string_view n) { return e.name < n; });
  return at != all.end() && at->name == name ? &*at : nullptr;
}

std::shared_ptr<const TensorSource> open_tensors(const std::string& path, FileAccess access) {
  if (path.ends_with(".index.json")) return open_safetensors_index(path, access);
  if (starts_like_gguf(InputFile(path, path))) return open_gguf(path, access);
  return open_safetensors(path, path, access);
}

std::shared_ptr<const TensorSource> open_component_folder(const std::string& folder, FileAccess access) {
  const std::string base = folder.empty() ? "" : folder.back() == '/' ? folder : folder + "/";
  for (const char* stem : {"diffusion_pytorch_model", "model"}) {
    for (const char* ending : {".safetensors", ".safetensors.index.json"}) {
      const std::string path = base + stem + ending;
      if (exists(path)) return open_tensors(path, access);
    }
  }
  if (!exists(folder)) throw IoError(text(printable(folder), ": no such folder"));
  for (const char* pickle : {"diffusion_pytorch_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (exists(base + pickle)) {
      throw IoError(text(printable(folder), ": holds only ", pickle,
                         ", a Python pickle, which is never read; convert it to safetensors"));
    }
  }
  throw IoError(text(printable(folder),
                     ": holds neither diffusion_pytorch_model.safetensors nor model.safetensors, "
                     "whole or with .index.json"));
}

}  // namespace ltxv
