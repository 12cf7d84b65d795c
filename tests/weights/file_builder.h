#pragma once
// Safetensors files put together byte by byte, so that no test depends on our own writer.
#include <cstdint>
#include <string>
#include <string_view>

namespace ltxv::test {

inline std::string little_endian(uint64_t value) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

inline std::string safetensors(std::string_view header, std::string_view data = "") {
  return little_endian(header.size()) + std::string(header) + std::string(data);
}

/// `count` bytes 0, 1, 2, ...
inline std::string counting(size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += static_cast<char>(i & 0x7f);
  return out;
}

}  // namespace ltxv::test
