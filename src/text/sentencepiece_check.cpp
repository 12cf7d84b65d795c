#include "text/sentencepiece_check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"

namespace ltxv {
namespace {

constexpr size_t kMaxPieceCount = 1'000'000;
constexpr size_t kMaxPieceBytes = 512;
// The library collects the matches of one lookup in an array of this size and then reads as many as there were.
constexpr int kMaxMatches = 32;

struct Checker {
  std::string_view file;
  [[noreturn]] void broken(const std::string& rule) const { throw BadWeights(text(file, ": ", rule)); }
};

enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  uint64_t number = 0;
  Wire wire = Wire::varint;
  uint64_t value = 0;      // varint, fixed32, fixed64
  std::string_view bytes;  // bytes
};

// Reads one protobuf message field by field.
class Message {
 public:
  Message(const Checker& checker, std::string_view bytes, std::string what)
      : checker_(checker), rest_(bytes), what_(std::move(what)) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field.number = tag >> 3;
    if (field.number == 0 || field.number > 0x1fffffff) damaged("has a field of number ", field.number);
    field.wire = static_cast<Wire>(tag & 7);
    field.bytes = {};
    switch (field.wire) {
      case Wire::varint:
        field.value = varint();
        return true;
      case Wire::fixed64:
        field.value = fixed(8);
        return true;
      case Wire::fixed32:
        field.value = fixed(4);
        return true;
      case Wire::bytes: {
        const uint64_t count = varint();
        if (count > rest_.size()) damaged("has a field of ", count, " bytes where ", rest_.size(), " are left");
        field.bytes = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return true;
      }
    }
    damaged("has a field of the wire type ", tag & 7);
  }

  // A field the library reads must have the type it expects; protobuf itself would silently skip it.
  void expect(const Field& field, Wire wire) const {
    if (field.wire != wire) damaged("has field ", field.number, " in another type than the format says");
  }

 private:
  template <class... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    checker_.broken(text("is no sentencepiece model or damaged: ", what_, " ", parts...));
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) damaged("ends inside a number");
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    damaged("has a number of more than 64 bits");
  }
  uint64_t fixed(size_t count) {
    if (rest_.size() < count) damaged("ends inside a number");
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(rest_[i]);
    rest_.remove_prefix(count);
    return value;
  }

  const Checker& checker_;
  std::string_view rest_;
  std::string what_;
};

// The double-array trie that maps text to its normal form. A unit holds, from the top: bit 31 set on values; an offset
// to its children in bits 10 and up, scaled by 256 when bit 9 is set; bit 8 when a value hangs below; the label in bits
// 0-7. Source: darts-clone, class DoubleArrayUnit.
class Trie {
 public:
  explicit Trie(std::string_view bytes) : units_(bytes.size() / 4) {
    for (size_t i = 0; i < units_.size(); ++i) {
      uint32_t unit = 0;
      for (int byte = 3; byte >= 0; --byte)
        unit = unit << 8 | static_cast<unsigned char>(bytes[4 * i + static_cast<size_t>(byte)]);
      units_[i] = unit;
    }
  }

  // Visits all that lookups can reach. Returns nullptr, or the rule that is broken.
  const char* check(size_t value_limit) const {
    // Suffixes may be shared, so this is a graph: a depth-first walk with the largest number of matches below every
    // unit.
    enum : uint8_t { fresh, open, done };
    std::vector<uint8_t> state(units_.size(), fresh), matches(units_.size(), 0);
    struct Step {
      size_t unit;
      unsigned label;
    };
    std::vector<Step> path = {{0, 1}};
    state[0] = open;
    while (!path.empty()) {
      Step& step = path.back();
      const uint32_t unit = units_[step.unit];
      const size_t children = step.unit ^ (size_t{unit >> 10} << ((unit & 0x200) >> 6));
      if ((children | 0xff) >= units_.size()) return "points outside of itself";
      const bool has_value = (unit & 0x100) != 0;
      if (step.label == 1 && has_value && (units_[children] & 0x7fffffff) >= value_limit)
        return "points outside of its texts";
      bool descended = false;
      while (step.label <= 0xff && !descended) {
        const size_t child = children ^ step.label;
        const bool exists = (units_[child] & 0x800000ff) == step.label;
        ++step.label;
        if (!exists) continue;
        if (state[child] == open) return "runs in a circle";
        if (state[child] == fresh) {
          state[child] = open;
          path.push_back({child, 1});  // `step` is invalid from here on
          descended = true;
          break;
        }
        matches[step.unit] = std::max(matches[step.unit], matches[child]);
      }
      if (descended) continue;
      const size_t finished = step.unit;
      matches[finished] = static_cast<uint8_t>(matches[finished] + (has_value ? 1 : 0));
      if (matches[finished] > kMaxMatches) return "has more than 32 entries that begin one another";
      state[finished] = done;
      path.pop_back();
      if (!path.empty()) matches[path.back().unit] = std::max(matches[path.back().unit], matches[finished]);
    }
    return nullptr;
  }

 private:
  std::vector<uint32_t> units_;
};

void check_normalisation_table(const Checker& checker, std::string_view table) {
  if (table.empty()) return;
  const std::string what = "the normalisation table ";
  if (table.size() < 4) checker.broken(what + "is cut off");
  uint64_t trie_bytes = 0;
  for (size_t i = 4; i-- > 0;) trie_bytes = trie_bytes << 8 | static_cast<unsigned char>(table[i]);
  // A unit's children fill a block of 256 units, so a trie has at least one block.
  if (trie_bytes % 4 != 0 || trie_bytes < 1024 || trie_bytes >= table.size() - 4) {
    checker.broken(text(what, "has a trie of ", trie_bytes, " bytes in ", table.size(),
                        ", a multiple of 4 from 1024 up is needed"));
  }
  const std::string_view texts = table.substr(4 + trie_bytes);
  if (texts.back() != '\0') checker.broken(what + "does not end with a zero byte");
  if (find_invalid_utf8(texts) != std::string_view::npos) checker.broken(what + "holds text that is not UTF-8");
  const char* const rule = Trie(table.substr(4, trie_bytes)).check(texts.size());
  if (rule != nullptr) checker.broken(what + rule);
}

void check_normaliser(const Checker& checker, std::string_view bytes) {
  Message message(checker, bytes, "the normaliser");
  for (Field field; message.next(field);) {
    if (field.number != 2) continue;
    message.expect(field, Wire::bytes);
    check_normalisation_table(checker, field.bytes);
  }
}

void check_trainer(const Checker& checker, std::string_view bytes) {
  constexpr uint64_t kUnigram = 1;
  Message message(checker, bytes, "the training record");
  for (Field field; message.next(field);) {
    if (field.number != 3 && field.number != 35) continue;
    message.expect(field, Wire::varint);
    if (field.number == 3 && field.value != kUnigram) {
      throw Unsupported(
          text(checker.file, ": is a sentencepiece model of type ", field.value, ", only unigram (1) is read"));
    }
    if (field.number == 35 && field.value != 0) {
      throw Unsupported(text(checker.file, ": is a sentencepiece model with byte fallback, which T5 does not use"));
    }
  }
}

enum PieceType : uint64_t { kNormal = 1, kUnknown = 2, kUserDefined = 4, kLastType = 6 };

PieceType check_piece(const Checker& checker, std::string_view bytes, size_t index) {
  const std::string what = text("piece ", index);
  Message message(checker, bytes, what);
  PieceType type = kNormal;
  bool named = false;
  for (Field field; message.next(field);) {
    if (field.number == 1) {
      message.expect(field, Wire::bytes);
      named = !field.bytes.empty();
      if (field.bytes.size() > kMaxPieceBytes) {
        checker.broken(text(what, " has ", field.bytes.size(), " bytes, at most ", kMaxPieceBytes, " are allowed"));
      }
      if (field.bytes.find('\0') != std::string_view::npos) checker.broken(what + " holds a zero byte");
      if (find_invalid_utf8(field.bytes) != std::string_view::npos) checker.broken(what + " is not UTF-8");
    } else if (field.number == 2) {
      message.expect(field, Wire::fixed32);
      float score = 0;
      const auto bits = static_cast<uint32_t>(field.value);
      std::memcpy(&score, &bits, sizeof score);
      if (!std::isfinite(score)) checker.broken(what + " has a score that is NaN or Inf");
    } else if (field.number == 3) {
      message.expect(field, Wire::varint);
      if (field.value < kNormal || field.value > kLastType)
        checker.broken(text(what, " has the type ", field.value, ", 1 to 6 are known"));
      type = static_cast<PieceType>(field.value);
    }
  }
  if (!named) checker.broken(what + " is empty");
  return type;
}

}  // namespace

void check_sentencepiece_model(std::string_view bytes, std::string_view file) {
  enum : uint64_t { kPieces = 1, kTrainer = 2, kNormaliser = 3, kSelfTest = 4, kDenormaliser = 5 };
  const Checker checker{file};
  if (bytes.empty()) checker.broken("is empty");
  size_t piece_count = 0, unknown_count = 0, usable_count = 0;
  Message message(checker, bytes, "the file");
  for (Field field; message.next(field);) {
    if (field.number > kDenormaliser) continue;
    message.expect(field, Wire::bytes);
    if (field.number == kPieces) {
      if (piece_count >= kMaxPieceCount) checker.broken(text("has more than ", kMaxPieceCount, " pieces"));
      const PieceType type = check_piece(checker, field.bytes, piece_count++);
      unknown_count += type == kUnknown ? 1 : 0;
      usable_count += type == kNormal || type == kUserDefined ? 1 : 0;
    } else if (field.number == kTrainer) {
      check_trainer(checker, field.bytes);
    } else if (field.number == kNormaliser || field.number == kDenormaliser) {
      check_normaliser(checker, field.bytes);
    }
  }
  if (usable_count == 0) checker.broken("has no pieces");
  if (unknown_count != 1) checker.broken(text("has ", unknown_count, " unknown pieces, exactly 1 is needed"));
}

size_t find_invalid_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const auto byte = [&](size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u; };
    const unsigned lead = byte(at);
    if (lead < 0x80) {
      ++at;
      continue;
    }
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4) return at;
    for (size_t i = 1; i < length; ++i) {
      if ((byte(at + i) & 0xc0) != 0x80) return at;
    }
    const unsigned second = byte(at + 1);
    const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
    const bool out_of_range = (lead == 0xed && second > 0x9f) || (lead == 0xf4 && second > 0x8f);
    if (overlong || out_of_range) return at;
    at += length;
  }
  return std::string_view::npos;
}

}  // namespace ltxv
