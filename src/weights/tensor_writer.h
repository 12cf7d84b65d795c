#pragma once
// Files of tensors written one tensor after another, so that no more than a piece of one is in memory.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "weights/tensor_source.h"

namespace ltxv {

/// Takes the next bytes of what is being written.
using ByteSink = std::function<void(const void* data, uint64_t byte_count)>;

/// One tensor to be written. `write` is called once, in the order of the file, and gives exactly the bytes of type and shape.
struct StreamedTensor {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;
  std::function<void(const ByteSink& sink)> write;
};

/// Bytes of a tensor in a file. Errors: InvalidArgument (a negative or too large size, rows that are no whole number of blocks).
uint64_t stored_bytes(const StreamedTensor& tensor);

/// Writes a safetensors file; complete or absent. Errors: IoError; InvalidArgument (names twice or not UTF-8, a block type);
/// whatever `write` throws.
void stream_safetensors(const std::string& path, std::vector<StreamedTensor> tensors, const std::map<std::string, std::string>& metadata);

/// Writes a GGUF file, version 3, with every metadata value a string; complete or absent.
/// Errors: as above; InvalidArgument for an element type or a count of axes (more than 4) that the format does not have.
/// Source: ggml docs/gguf.md.
void stream_gguf(const std::string& path, std::vector<StreamedTensor> tensors, const std::map<std::string, std::string>& metadata);

}  // namespace ltxv
