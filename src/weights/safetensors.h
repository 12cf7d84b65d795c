#pragma once
// The safetensors format: 8 bytes of header length, a JSON header, then the tensors without gaps.
#include <memory>
#include <string>

#include "weights/tensor_source.h"

namespace ltxv {

/// Opens one file. `shown` is its name in messages and entries. Errors: as open_tensors.
std::shared_ptr<const TensorSource> open_safetensors(const std::string& path, const std::string& shown,
                                                     FileAccess access);

/// Opens `*.index.json` and its shards. Errors: as open_tensors.
std::shared_ptr<const TensorSource> open_safetensors_index(const std::string& path, FileAccess access);

}  // namespace ltxv
