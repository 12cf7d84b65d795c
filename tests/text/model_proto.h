#pragma once
// Sentencepiece models put together field by field. Protobuf messages add up: a field after a good file replaces or
// adds to it.
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace ltxv::test::proto {

inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  return out + static_cast<char>(value);
}

inline std::string bytes_field(uint64_t number, std::string_view bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

inline std::string varint_field(uint64_t number, uint64_t value) { return varint(number << 3) + varint(value); }

inline std::string float_field(uint64_t number, float value) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &value, 4);
  return varint(number << 3 | 5) + bits;
}

/// ModelProto.pieces: text, score, type (1 normal, 2 unknown, 3 control).
inline std::string piece(std::string_view name, float score, uint64_t type) {
  return bytes_field(1, bytes_field(1, name) + float_field(2, score) + varint_field(3, type));
}

/// ModelProto.normalizer_spec with a table of `units` (the trie) and `texts`.
inline std::string normaliser(const std::u32string& units, std::string_view texts) {
  std::string table(4 + 4 * units.size(), '\0');
  const auto size = static_cast<uint32_t>(4 * units.size());
  std::memcpy(table.data(), &size, 4);
  std::memcpy(table.data() + 4, units.data(), 4 * units.size());
  return bytes_field(3, bytes_field(2, table.append(texts)));
}

}  // namespace ltxv::test::proto
