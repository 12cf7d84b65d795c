#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/file_bytes.h"
#include "weights/tensor_source.h"
#include "weights/tensor_writer.h"

namespace ltxv {
namespace {

std::string quoted(const std::string& string) {
  try {
    return nlohmann::json(string).dump();
  } catch (const nlohmann::json::exception&) {
    throw InvalidArgument(
        text("'", printable(string), "' is not valid UTF-8 and cannot be written to a safetensors header"));
  }
}

}  // namespace

uint64_t stored_bytes(const StreamedTensor& tensor) {
  const StoredBlock block = stored_block(tensor.type);
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  LTXV_CHECK(row % block.elements == 0, "tensor '", printable(tensor.name), "': rows of ", row, " elements are no whole number of ",
             stored_type_name(tensor.type), " blocks of ", block.elements);
  int64_t count = block.bytes;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const int64_t size = i + 1 == tensor.shape.size() ? row / block.elements : tensor.shape[i];
    LTXV_CHECK(size >= 0 && !__builtin_mul_overflow(count, size, &count), "tensor '", printable(tensor.name),
               "' has an impossible shape");
  }
  return static_cast<uint64_t>(count);
}

void stream_safetensors(const std::string& path, std::vector<StreamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  // Widest elements first, as the reference writer does: every tensor is then aligned to its own element.
  std::vector<const StreamedTensor*> order;
  for (const StreamedTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const StreamedTensor* a, const StreamedTensor* b) { return a->name < b->name; });
  for (size_t i = 0; i < order.size(); ++i) {
    LTXV_CHECK(!order[i]->name.empty() && order[i]->name != "__metadata__", "'", order[i]->name,
               "' cannot name a tensor");
    LTXV_CHECK(i == 0 || order[i]->name != order[i - 1]->name, "tensor '", printable(order[i]->name),
               "' is to be written twice");
  }
  for (const StreamedTensor* tensor : order)
    LTXV_CHECK(!is_block_type(tensor->type), "tensor '", printable(tensor->name), "' is of type ", stored_type_name(tensor->type),
               ", which safetensors files do not have");
  std::stable_sort(order.begin(), order.end(), [](const StreamedTensor* a, const StreamedTensor* b) {
    return stored_type_size(a->type) > stored_type_size(b->type);
  });

  std::string header = "{";
  const auto separate = [&header] { header += header.size() > 1 ? "," : ""; };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    const char* comma = "";
    for (const auto& [key, value] : metadata) {
      header.append(comma).append(quoted(key)).append(":").append(quoted(value));
      comma = ",";
    }
    header += "}";
  }
  uint64_t offset = 0;
  for (const StreamedTensor* tensor : order) {
    separate();
    std::string shape;
    for (const int64_t size : tensor->shape) shape.append(shape.empty() ? "" : ",").append(std::to_string(size));
    const uint64_t end = offset + stored_bytes(*tensor);
    // Not through a stream: a host's global locale may group the digits.
    header.append(quoted(tensor->name)).append(":{\"dtype\":\"").append(stored_type_name(tensor->type));
    header.append("\",\"shape\":[").append(shape).append("],\"data_offsets\":[");
    header.append(std::to_string(offset)).append(",").append(std::to_string(end)).append("]}");
    offset = end;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');  // the data then starts at a multiple of 8

  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i) & 0xff);
  write_atomically(path, [&](const auto& write) {
    write(length, sizeof length);
    write(header.data(), header.size());
    for (const StreamedTensor* tensor : order) {
      uint64_t written = 0;
      tensor->write([&](const void* data, uint64_t count) {
        write(data, count);
        written += count;
      });
      LTXV_ASSERT(written == stored_bytes(*tensor), "tensor '", tensor->name, "' came as ", written, " bytes");
    }
  });
}

void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<StreamedTensor> streamed;
  for (const TensorToWrite& tensor : tensors) {
    StreamedTensor one{tensor.name, tensor.type, tensor.shape, {}};
    one.write = [data = tensor.data, count = stored_bytes(one)](const ByteSink& sink) { sink(data, count); };
    streamed.push_back(std::move(one));
  }
  stream_safetensors(path, std::move(streamed), metadata);
}

}  // namespace ltxv
