#pragma once
// GGUF files put together byte by byte, so that no test depends on a writer.
#include <cstdint>
#include <string>
#include <string_view>

namespace ltxv::test::gguf {

inline std::string number(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}
inline std::string u32(uint64_t value) { return number(value, 4); }
inline std::string u64(uint64_t value) { return number(value, 8); }
inline std::string string(std::string_view text) { return u64(text.size()) + std::string(text); }

constexpr uint32_t kUint32 = 4, kInt32 = 5, kString = 8, kList = 9;
inline std::string key(std::string_view name, uint32_t kind, const std::string& value) { return string(name) + u32(kind) + value; }

/// Axes as the format has them: fastest first.
inline std::string tensor(std::string_view name, const std::string& axes, uint32_t type, uint64_t offset) {
  return string(name) + u32(axes.size() / 8) + axes + u32(type) + u64(offset);
}

/// A file of these counts, records and data; data starts at the next multiple of `alignment`.
inline std::string file(uint64_t tensor_count, uint64_t key_count, const std::string& records, const std::string& data,
                        uint64_t version = 3, size_t alignment = 32) {
  std::string out = "GGUF" + u32(version) + u64(tensor_count) + u64(key_count) + records;
  if (!data.empty()) out.append((alignment - out.size() % alignment) % alignment, '\0');
  return out + data;
}

/// Two keys and two tensors: "a" F32 [2,3], "b" Q8_0 [1,32].
inline std::string good() {
  const std::string keys = key("general.architecture", kString, string("ltxv")) +
                           key("list", kList, u32(kString) + u64(2) + string("x") + string("")) + key("n", kInt32, u32(7));
  const std::string tensors = tensor("a", u64(3) + u64(2), 0, 0) + tensor("b", u64(32) + u64(1), 8, 32);
  return file(2, 3, keys + tensors, std::string(32 + 34, '\1'));
}

}  // namespace ltxv::test::gguf
