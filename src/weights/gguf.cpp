#include "weights/gguf.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <set>

#include "base/error.h"

namespace ltxv {
namespace {

// Far above any model; they bound what a hostile file costs. Counts are also bounded by what fits into the file.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kMaxTensorCount = 200'000, kMaxKeyCount = 100'000;
constexpr uint64_t kMaxNameBytes = 4096, kMaxStringBytes = 16'000'000;
constexpr uint32_t kMaxRank = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;
// The shortest a record can be: a key of one letter with one byte, a tensor of one letter and one axis.
constexpr uint64_t kLeastKeyBytes = 8 + 1 + 4 + 1, kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint32_t kString = 8, kList = 9;

struct TensorType {
  uint32_t id;
  const char* name;
};
// Every type the format numbers; which of them are read is decided by their names.
constexpr std::array kTensorTypes = {
    TensorType{0, "F32"},      TensorType{1, "F16"},      TensorType{2, "Q4_0"},    TensorType{3, "Q4_1"},   TensorType{6, "Q5_0"},
    TensorType{7, "Q5_1"},     TensorType{8, "Q8_0"},     TensorType{9, "Q8_1"},    TensorType{10, "Q2_K"},  TensorType{11, "Q3_K"},
    TensorType{12, "Q4_K"},    TensorType{13, "Q5_K"},    TensorType{14, "Q6_K"},   TensorType{15, "Q8_K"},  TensorType{16, "IQ2_XXS"},
    TensorType{17, "IQ2_XS"},  TensorType{18, "IQ3_XXS"}, TensorType{19, "IQ1_S"},  TensorType{20, "IQ4_NL"}, TensorType{21, "IQ3_S"},
    TensorType{22, "IQ2_S"},   TensorType{23, "IQ4_XS"},  TensorType{24, "I8"},     TensorType{25, "I16"},   TensorType{26, "I32"},
    TensorType{27, "I64"},     TensorType{28, "F64"},     TensorType{29, "IQ1_M"},  TensorType{30, "BF16"},  TensorType{34, "TQ1_0"},
    TensorType{35, "TQ2_0"},   TensorType{39, "MXFP4"},
};

// Reads the header from front to end through a small buffer; a header is never mapped.
class Cursor {
 public:
  explicit Cursor(const InputFile& file) : file_(file) {}

  const std::string& name() const { return file_.shown(); }
  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.size() - position_; }

  [[noreturn]] void broken(const std::string& rule) const { throw BadWeights(text(printable(file_.shown()), ": ", rule)); }

  /// Makes sure that `count` more bytes of header exist; `what` names them.
  void need(uint64_t count, std::string_view what) const {
    if (count > left()) {
      broken(text(what, " needs ", count, " bytes at byte ", position_, ", but only ", left(),
                  " are left; the file is cut off or damaged"));
    }
    if (position_ + count > kMaxHeaderBytes) broken(text(what, " ends beyond byte ", kMaxHeaderBytes, " of the header"));
  }

  template <class Number>
  Number number(std::string_view what) {
    Number value{};
    need(sizeof value, what);
    read(&value, sizeof value);
    return value;
  }

  std::string string(std::string_view what, uint64_t most) {
    const auto length = number<uint64_t>(what);
    if (length > most) broken(text(what, " is ", length, " bytes long, at most ", most, " are read"));
    need(length, what);
    std::string value(length, '\0');
    read(value.data(), length);
    return value;
  }

  void skip(uint64_t count, std::string_view what) {
    need(count, what);
    position_ += count;
  }

 private:
  void read(void* into, uint64_t count) {
    constexpr uint64_t kBufferBytes = 1 << 16;
    if (position_ < buffer_start_ || position_ + count > buffer_start_ + buffer_.size()) {
      buffer_start_ = position_;
      buffer_.resize(std::min(std::max(count, kBufferBytes), left()));
      file_.read(position_, buffer_.data(), buffer_.size());
    }
    std::memcpy(into, buffer_.data() + (position_ - buffer_start_), count);
    position_ += count;
  }

  const InputFile& file_;
  uint64_t position_ = 0, buffer_start_ = 0;
  std::string buffer_;
};

template <class Number>
std::string number_text(Number value) {
  // to_chars, because a host's global locale may group digits.
  char digits[64];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

template <class Number>
std::string read_number(Cursor& cursor, std::string_view what) {
  return number_text(cursor.number<Number>(what));
}

struct ValueKind {
  uint64_t bytes;
  std::string (*read)(Cursor&, std::string_view);
};
// Plain values by their number in the format; 8 and 9 are strings and lists.
constexpr std::array<ValueKind, 13> kValues = {{{1, read_number<uint8_t>},
                                                {1, read_number<int8_t>},
                                                {2, read_number<uint16_t>},
                                                {2, read_number<int16_t>},
                                                {4, read_number<uint32_t>},
                                                {4, read_number<int32_t>},
                                                {4, read_number<float>},
                                                {1, read_number<uint8_t>},
                                                {0, nullptr},
                                                {0, nullptr},
                                                {8, read_number<uint64_t>},
                                                {8, read_number<int64_t>},
                                                {8, read_number<double>}}};

void skip_list(Cursor& cursor, const std::string& what) {
  const auto kind = cursor.number<uint32_t>(what);
  const auto count = cursor.number<uint64_t>(what);
  if (kind >= kValues.size() || kind == kList) cursor.broken(text(what, " is a list of unknown kind ", kind));
  const uint64_t least = kind == kString ? 8 : kValues[kind].bytes;
  if (count > cursor.left() / least) cursor.broken(text(what, " is said to have ", count, " entries, more than fit into the file"));
  if (kind != kString) return cursor.skip(count * least, what);
  for (uint64_t i = 0; i < count; ++i) {
    const auto length = cursor.number<uint64_t>(what);
    cursor.skip(length, what);
  }
}

class GgufFile final : public TensorSource {
 public:
  GgufFile(const std::string& path, FileAccess access) : path_(path) {
    const InputFile input(path, path);
    Cursor cursor(input);
    cursor.skip(4, "the magic number");
    read_version(cursor);
    const auto tensor_count = read_count(cursor, "tensors", kMaxTensorCount, kLeastTensorBytes);
    const auto key_count = read_count(cursor, "metadata keys", kMaxKeyCount, kLeastKeyBytes);
    uint64_t alignment = 32;
    for (uint64_t i = 0; i < key_count; ++i) read_key(cursor, alignment);
    std::vector<uint64_t> offsets;
    for (uint64_t i = 0; i < tensor_count; ++i) offsets.push_back(read_tensor(cursor, alignment));

    const uint64_t start = (cursor.position() + alignment - 1) / alignment * alignment;
    place(cursor, offsets, alignment, start < input.size() ? input.size() - start : 0);
    bytes_ = input.contents(std::min(start, input.size()), access);
    for (size_t i = 0; i < entries_.size(); ++i) {
      entries_[i].data = bytes_.get() + offsets[i];
      entries_[i].mapped = access == FileAccess::map;
    }
    std::sort(entries_.begin(), entries_.end(), [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
    for (size_t i = 1; i < entries_.size(); ++i) {
      if (entries_[i].name == entries_[i - 1].name) cursor.broken(text("tensor '", printable(entries_[i].name), "' occurs twice"));
    }
  }

  const std::vector<TensorEntry>& entries() const override { return entries_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  static void read_version(Cursor& cursor) {
    const auto version = cursor.number<uint32_t>("the version");
    if (version == 2 || version == 3) return;
    const bool swapped = (version & 0xffff) == 0 && version != 0;
    throw Unsupported(text(printable(cursor.name()), ": is a GGUF file of ",
                           swapped ? std::string("big-endian order") : text("version ", version),
                           ", little-endian version 2 or 3 is needed"));
  }

  static uint64_t read_count(Cursor& cursor, const char* what, uint64_t most, uint64_t least_bytes) {
    const auto count = cursor.number<uint64_t>(what);
    if (count > most || count > cursor.left() / least_bytes) {
      cursor.broken(text("is said to have ", count, " ", what, ", more than ", count > most ? "are read" : "fit into the file"));
    }
    return count;
  }

  void read_key(Cursor& cursor, uint64_t& alignment) {
    const std::string key = cursor.string("a metadata key", kMaxNameBytes);
    if (key.empty()) cursor.broken("a metadata key is empty");
    const std::string what = text("metadata '", printable(key), "'");
    if (!keys_.insert(key).second) cursor.broken(text(what, " occurs twice"));
    const auto kind = cursor.number<uint32_t>(what);
    if (kind == kList) return skip_list(cursor, what);
    if (kind >= kValues.size()) cursor.broken(text(what, " has the unknown kind ", kind));
    const std::string value = kind == kString ? cursor.string(what, kMaxStringBytes) : kValues[kind].read(cursor, what);
    if (key == "general.alignment") {
      constexpr uint32_t kUint32 = 4;
      if (kind != kUint32) cursor.broken(text(what, " has the kind ", kind, ", ", kUint32, " is needed"));
      alignment = std::stoull(value);
      if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > kMaxAlignment) {
        cursor.broken(text(what, " is ", alignment, ", a power of two up to ", kMaxAlignment, " is needed"));
      }
    }
    metadata_[key] = value;
  }

  /// Appends one entry without its data; returns its offset.
  uint64_t read_tensor(Cursor& cursor, uint64_t alignment) {
    TensorEntry entry;
    entry.file = path_;
    entry.name = cursor.string("a tensor's name", kMaxNameBytes);
    if (entry.name.empty()) cursor.broken("a tensor has an empty name");
    const std::string what = text("tensor '", printable(entry.name), "'");
    const auto rank = cursor.number<uint32_t>(what);
    if (rank > kMaxRank) cursor.broken(text(what, " has ", rank, " axes, at most ", kMaxRank, " are allowed"));
    int64_t count = 1;
    for (uint32_t axis = 0; axis < rank; ++axis) {
      const auto size = cursor.number<uint64_t>(what);
      if (size == 0) cursor.broken(text(what, " has an axis of length 0"));
      if (size > INT64_MAX || __builtin_mul_overflow(count, static_cast<int64_t>(size), &count)) {
        cursor.broken(text(what, ": its shape has more elements than 64 bits can count"));
      }
      entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(size));  // the fastest axis comes first in the file
    }
    entry.type = read_type(cursor, what);
    const StoredBlock block = stored_block(entry.type);
    const int64_t row = entry.shape.empty() ? 1 : entry.shape.back();
    if (row % block.elements != 0) {
      cursor.broken(text(what, ": rows of ", row, " elements are no whole number of ", stored_type_name(entry.type), " blocks of ",
                         block.elements));
    }
    int64_t bytes = 0;
    if (__builtin_mul_overflow(count / block.elements, block.bytes, &bytes)) {
      cursor.broken(text(what, ": its shape has more bytes than 64 bits can count"));
    }
    entry.byte_count = static_cast<uint64_t>(bytes);
    const auto offset = cursor.number<uint64_t>(what);
    if (offset % alignment != 0) cursor.broken(text(what, " starts at byte ", offset, ", a multiple of ", alignment, " is needed"));
    entries_.push_back(std::move(entry));
    return offset;
  }

  StoredType read_type(Cursor& cursor, const std::string& what) const {
    const auto id = cursor.number<uint32_t>(what);
    const auto known = std::find_if(kTensorTypes.begin(), kTensorTypes.end(), [id](const TensorType& t) { return t.id == id; });
    if (known == kTensorTypes.end()) cursor.broken(text(what, " has the unknown type ", id));
    const auto type = stored_type_named(known->name);
    if (!type) {
      throw Unsupported(text(printable(path_), ": ", what, " is stored as ", known->name,
                             ", which is not read; F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1 and Q2_K to Q6_K are"));
    }
    return *type;
  }

  /// Every tensor inside the data, none over another.
  void place(const Cursor& cursor, const std::vector<uint64_t>& offsets, uint64_t alignment, uint64_t data_size) const {
    std::vector<size_t> order(entries_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return offsets[a] < offsets[b]; });
    uint64_t expected = 0;
    for (const size_t i : order) {
      const std::string what = text("tensor '", printable(entries_[i].name), "'");
      if (offsets[i] != expected) {
        cursor.broken(text(what, " starts at byte ", offsets[i], " of the data, ",
                           offsets[i] < expected ? "inside the tensor before it" : "leaving a hole", "; ", expected, " is needed"));
      }
      if (entries_[i].byte_count > data_size || offsets[i] > data_size - entries_[i].byte_count) {
        cursor.broken(text(what, " of ", entries_[i].byte_count, " bytes starts at byte ", offsets[i],
                           " of the data, the file has only ", data_size, "; it is cut off or damaged"));
      }
      expected = (offsets[i] + entries_[i].byte_count + alignment - 1) / alignment * alignment;
    }
    if (data_size > expected) cursor.broken(text(data_size - expected, " bytes follow the last tensor, none are allowed"));
  }

  std::string path_;
  std::vector<TensorEntry> entries_;
  std::set<std::string> keys_;
  std::map<std::string, std::string> metadata_;
  std::shared_ptr<const std::byte> bytes_;
};

}  // namespace

bool starts_like_gguf(const InputFile& file) {
  char magic[4];
  if (file.size() < sizeof magic) return false;
  file.read(0, magic, sizeof magic);
  return std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

std::optional<uint32_t> gguf_type_id(StoredType type) {
  const auto known = std::find_if(kTensorTypes.begin(), kTensorTypes.end(), [type](const TensorType& t) { return t.name == stored_type_name(type); });
  return known == kTensorTypes.end() ? std::nullopt : std::optional(known->id);
}

std::shared_ptr<const TensorSource> open_gguf(const std::string& path, FileAccess access) {
  return std::make_shared<GgufFile>(path, access);
}

}  // namespace ltxv
