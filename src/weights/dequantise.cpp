#include "weights/dequantise.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace ltxv {
namespace {

using Bytes = const uint8_t*;

uint16_t half_bits(Bytes at) { return static_cast<uint16_t>(at[0] | at[1] << 8); }

float half(Bytes at) {
  const uint32_t bits = half_bits(at), sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 0) {  // subnormal: mantissa * 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13);
}

// One block of each format. `kScales` are the offsets of its f16 fields. The loops have fixed counts and no branches, so that
// they become vector code.
struct Q4_0 {
  static constexpr int64_t kElements = 32, kBytes = 18;
  static constexpr std::array kScales = {0};
  static void decode(Bytes b, float* y) {
    const float d = half(b);
    for (int i = 0; i < 16; ++i) {
      y[i] = static_cast<float>((b[2 + i] & 15) - 8) * d;
      y[i + 16] = static_cast<float>((b[2 + i] >> 4) - 8) * d;
    }
  }
};

struct Q4_1 {
  static constexpr int64_t kElements = 32, kBytes = 20;
  static constexpr std::array kScales = {0, 2};
  static void decode(Bytes b, float* y) {
    const float d = half(b), m = half(b + 2);
    for (int i = 0; i < 16; ++i) {
      y[i] = static_cast<float>(b[4 + i] & 15) * d + m;
      y[i + 16] = static_cast<float>(b[4 + i] >> 4) * d + m;
    }
  }
};

// The fifth bits of 32 elements lie together, element i at bit i.
void codes_of_5_bits(Bytes high, Bytes low, int* codes) {
  uint32_t bits;
  std::memcpy(&bits, high, 4);
  for (int i = 0; i < 16; ++i) {
    codes[i] = (low[i] & 15) | static_cast<int>(bits >> i & 1) << 4;
    codes[i + 16] = (low[i] >> 4) | static_cast<int>(bits >> (i + 16) & 1) << 4;
  }
}

struct Q5_0 {
  static constexpr int64_t kElements = 32, kBytes = 22;
  static constexpr std::array kScales = {0};
  static void decode(Bytes b, float* y) {
    const float d = half(b);
    int codes[32];
    codes_of_5_bits(b + 2, b + 6, codes);
    for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(codes[i] - 16) * d;
  }
};

struct Q5_1 {
  static constexpr int64_t kElements = 32, kBytes = 24;
  static constexpr std::array kScales = {0, 2};
  static void decode(Bytes b, float* y) {
    const float d = half(b), m = half(b + 2);
    int codes[32];
    codes_of_5_bits(b + 4, b + 8, codes);
    for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(codes[i]) * d + m;
  }
};

struct Q8_0 {
  static constexpr int64_t kElements = 32, kBytes = 34;
  static constexpr std::array kScales = {0};
  static void decode(Bytes b, float* y) {
    const float d = half(b);
    for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
  }
};

// The K formats: 256 elements in groups with scales (and minima) of their own, themselves coded.
struct Q2_K {  // scales and minima [16], codes [64], d, d of the minima
  static constexpr int64_t kElements = 256, kBytes = 84;
  static constexpr std::array kScales = {80, 82};
  static void decode(Bytes b, float* y) {
    const float d = half(b + 80), d_min = half(b + 82);
    for (int group = 0; group < 16; ++group, y += 16) {
      const float scale = d * static_cast<float>(b[group] & 15), minimum = d_min * static_cast<float>(b[group] >> 4);
      const Bytes codes = b + 16 + group / 8 * 32 + group % 2 * 16;
      const int shift = group % 8 / 2 * 2;
      for (int i = 0; i < 16; ++i) y[i] = scale * static_cast<float>(codes[i] >> shift & 3) - minimum;
    }
  }
};

struct Q3_K {  // third bits [32], codes [64], scales of 6 bits [12], d
  static constexpr int64_t kElements = 256, kBytes = 110;
  static constexpr std::array kScales = {108};
  static void decode(Bytes b, float* y) {
    const float d = half(b + 108);
    const Bytes scales = b + 96;
    for (int group = 0; group < 16; ++group, y += 16) {
      const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4, high = scales[8 + group % 4] >> group / 4 * 2 & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      const Bytes codes = b + 32 + group / 8 * 32 + group % 2 * 16, thirds = b + group % 2 * 16;
      const int shift = group % 8 / 2 * 2, bit = group / 2;
      for (int i = 0; i < 16; ++i) y[i] = scale * static_cast<float>((codes[i] >> shift & 3) - 4 + (thirds[i] >> bit & 1) * 4);
    }
  }
};

// Scale and minimum of group 0 … 7 out of 12 bytes: 6 bits each, those of the last four groups in two pieces.
struct ScaleAndMinimum {
  float scale, minimum;
};
ScaleAndMinimum six_bits(Bytes s, int group, float d, float d_min) {
  const int scale = group < 4 ? s[group] & 63 : (s[group + 4] & 15) | s[group - 4] >> 6 << 4;
  const int minimum = group < 4 ? s[group + 4] & 63 : s[group + 4] >> 4 | s[group] >> 6 << 4;
  return {d * static_cast<float>(scale), d_min * static_cast<float>(minimum)};
}

struct Q4_K {  // d, d of the minima, scales and minima [12], codes [128]
  static constexpr int64_t kElements = 256, kBytes = 144;
  static constexpr std::array kScales = {0, 2};
  static void decode(Bytes b, float* y) {
    const float d = half(b), d_min = half(b + 2);
    for (int group = 0; group < 8; ++group, y += 32) {
      const auto [scale, minimum] = six_bits(b + 4, group, d, d_min);
      const Bytes codes = b + 16 + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i) y[i] = scale * static_cast<float>(codes[i] >> shift & 15) - minimum;
    }
  }
};

struct Q5_K {  // d, d of the minima, scales and minima [12], fifth bits [32], codes [128]
  static constexpr int64_t kElements = 256, kBytes = 176;
  static constexpr std::array kScales = {0, 2};
  static void decode(Bytes b, float* y) {
    const float d = half(b), d_min = half(b + 2);
    const Bytes fifths = b + 16;
    for (int group = 0; group < 8; ++group, y += 32) {
      const auto [scale, minimum] = six_bits(b + 4, group, d, d_min);
      const Bytes codes = b + 48 + group / 2 * 32;
      const int shift = group % 2 * 4;
      for (int i = 0; i < 32; ++i)
        y[i] = scale * static_cast<float>((codes[i] >> shift & 15) | (fifths[i] >> group & 1) << 4) - minimum;
    }
  }
};

struct Q6_K {  // low codes [128], high codes [64], scales [16], d
  static constexpr int64_t kElements = 256, kBytes = 210;
  static constexpr std::array kScales = {208};
  static void decode(Bytes b, float* y) {
    const float d = half(b + 208);
    for (int group = 0; group < 16; ++group, y += 16) {
      const float scale = d * static_cast<float>(static_cast<int8_t>(b[192 + group]));
      const int half_of_block = group / 8, quarter = group % 8 / 2, offset = group % 2 * 16;
      const Bytes low = b + half_of_block * 64 + quarter % 2 * 32 + offset, high = b + 128 + half_of_block * 32 + offset;
      const int low_shift = quarter / 2 * 4, high_shift = quarter * 2;
      for (int i = 0; i < 16; ++i)
        y[i] = scale * static_cast<float>((low[i] >> low_shift & 15) + (high[i] >> high_shift & 3) * 16 - 32);
    }
  }
};

template <class Format>
void decode_blocks(const std::byte* from, int64_t count, float* to) {
  auto block = reinterpret_cast<Bytes>(from);
  for (int64_t done = 0; done < count; done += Format::kElements, block += Format::kBytes) Format::decode(block, to + done);
}

template <class Format>
bool any_bad_scale(const std::byte* from, uint64_t byte_count) {
  const auto data = reinterpret_cast<Bytes>(from);
  bool bad = false;
  for (uint64_t at = 0; at + Format::kBytes <= byte_count; at += Format::kBytes)
    for (const int offset : Format::kScales) bad |= (half_bits(data + at + offset) & 0x7c00) == 0x7c00;
  return bad;
}

// fp8 with four exponent bits: a subnormal is its mantissa * 2^-9, else the bits are moved into an f32 whose bias is 120 larger.
// Both are computed, without a branch and without an f32 subnormal, which a host's processor settings could flush to zero.
void decode_e4m3(Bytes from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = from[i], sign = (bits & 0x80) << 24, rest = bits & 0x7f;
    const uint32_t normal = (rest << 20) + (uint32_t{120} << 23);
    const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(rest)) * 0x1p-9f);
    to[i] = std::bit_cast<float>(sign | (rest < 8 ? subnormal : normal));
  }
}

// fp8 with five exponent bits is the upper byte of an f16.
void decode_e5m2(Bytes from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t bytes[2] = {0, from[i]};
    to[i] = half(bytes);
  }
}

void decode_bf16(Bytes from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = std::bit_cast<float>(uint32_t{half_bits(from + 2 * i)} << 16);
}

// As decode_e4m3, with eight exponent bits less 5; Inf and NaN are refused when a file is read.
void decode_f16(Bytes from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = half_bits(from + 2 * i), sign = (bits & 0x8000) << 16, rest = bits & 0x7fff;
    const uint32_t normal = (rest << 13) + (uint32_t{112} << 23);
    const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(rest)) * 0x1p-24f);
    to[i] = std::bit_cast<float>(sign | (rest < 0x400 ? subnormal : normal));
  }
}

// Calls `use` with an instance of the block format of a type.
template <class Use>
auto with_format(StoredType type, const Use& use) {
  switch (type) {
    case StoredType::q4_0: return use(Q4_0());
    case StoredType::q4_1: return use(Q4_1());
    case StoredType::q5_0: return use(Q5_0());
    case StoredType::q5_1: return use(Q5_1());
    case StoredType::q8_0: return use(Q8_0());
    case StoredType::q2_k: return use(Q2_K());
    case StoredType::q3_k: return use(Q3_K());
    case StoredType::q4_k: return use(Q4_K());
    case StoredType::q5_k: return use(Q5_K());
    case StoredType::q6_k: return use(Q6_K());
    default: throw InternalError(text(stored_type_name(type), " has no blocks"));
  }
}

}  // namespace

bool is_narrow_type(StoredType type) {
  return type == StoredType::f8_e4m3 || type == StoredType::f8_e5m2 || is_block_type(type);
}

bool is_half_type(StoredType type) { return type == StoredType::bf16 || type == StoredType::f16; }

void dequantise(StoredType type, const std::byte* from, int64_t count, float* to) {
  if (type == StoredType::f8_e4m3) return decode_e4m3(reinterpret_cast<Bytes>(from), count, to);
  if (type == StoredType::f8_e5m2) return decode_e5m2(reinterpret_cast<Bytes>(from), count, to);
  if (type == StoredType::bf16) return decode_bf16(reinterpret_cast<Bytes>(from), count, to);
  if (type == StoredType::f16) return decode_f16(reinterpret_cast<Bytes>(from), count, to);
  if (type == StoredType::f32) return void(std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float)));
  with_format(type, [&](auto format) { decode_blocks<decltype(format)>(from, count, to); });
}

bool has_bad_scale(StoredType type, const std::byte* from, uint64_t byte_count) {
  return with_format(type, [&](auto format) { return any_bad_scale<decltype(format)>(from, byte_count); });
}

}  // namespace ltxv
