#pragma once
// The GGUF format: counts, metadata, descriptions of tensors, then the tensors, each at a multiple of an alignment.
#include <memory>
#include <optional>
#include <string>

#include "weights/file_bytes.h"
#include "weights/tensor_source.h"

namespace ltxv {

/// Whether the file begins with the format's four letters.
bool starts_like_gguf(const InputFile& file);

/// Opens a file of version 2 or 3, little-endian. Axes are turned into row-major order; metadata holds strings and numbers (as
/// text), lists are left out. Errors: as open_tensors.
/// Source: ggml docs/gguf.md.
std::shared_ptr<const TensorSource> open_gguf(const std::string& path, FileAccess access);

/// The format's number of a type, if it has one.
std::optional<uint32_t> gguf_type_id(StoredType type);

}  // namespace ltxv
