#include <algorithm>

#include "base/error.h"
#include "weights/file_bytes.h"
#include "weights/gguf.h"
#include "weights/tensor_writer.h"

namespace ltxv {
namespace {

constexpr uint64_t kAlignment = 32;  // what readers assume where the metadata names no other
constexpr uint32_t kVersion = 3, kString = 8;

void append_number(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void append_string(std::string& out, const std::string& value) {
  append_number(out, value.size(), 8);
  out += value;
}

uint64_t aligned(uint64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void stream_gguf(const std::string& path, std::vector<StreamedTensor> tensors, const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const StreamedTensor& a, const StreamedTensor& b) { return a.name < b.name; });
  std::string header = "GGUF";
  append_number(header, kVersion, 4);
  append_number(header, tensors.size(), 8);
  append_number(header, metadata.size(), 8);
  for (const auto& [key, value] : metadata) {
    append_string(header, key);
    append_number(header, kString, 4);
    append_string(header, value);
  }
  uint64_t offset = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const StreamedTensor& tensor = tensors[i];
    LTXV_CHECK(i == 0 || tensor.name != tensors[i - 1].name, "tensor '", printable(tensor.name), "' is to be written twice");
    const auto id = gguf_type_id(tensor.type);
    LTXV_CHECK(id, "tensor '", printable(tensor.name), "' is of type ", stored_type_name(tensor.type), ", which GGUF files do not have");
    LTXV_CHECK(tensor.shape.size() <= 4, "tensor '", printable(tensor.name), "' has ", tensor.shape.size(),
               " axes, GGUF files have at most 4");
    append_string(header, tensor.name);
    append_number(header, tensor.shape.size(), 4);
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)  // the fastest axis comes first
      append_number(header, static_cast<uint64_t>(*size), 8);
    append_number(header, *id, 4);
    append_number(header, offset, 8);
    offset += aligned(stored_bytes(tensor));
  }
  header.append(aligned(header.size()) - header.size(), '\0');
  write_atomically(path, [&](const auto& write) {
    write(header.data(), header.size());
    const std::string padding(kAlignment, '\0');
    for (const StreamedTensor& tensor : tensors) {
      const uint64_t wanted = stored_bytes(tensor);
      uint64_t written = 0;
      tensor.write([&](const void* data, uint64_t count) {
        write(data, count);
        written += count;
      });
      LTXV_ASSERT(written == wanted, "tensor '", tensor.name, "' came as ", written, " bytes instead of ", wanted);
      write(padding.data(), aligned(wanted) - wanted);
    }
  });
}

}  // namespace ltxv
