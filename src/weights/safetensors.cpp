#include "weights/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "weights/file_bytes.h"

namespace ltxv {
namespace {

// The reference implementation's limit on the header; the others are far above any model and bound what a hostile file
// costs.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxTensorCount = 200'000;
constexpr size_t kMaxNameBytes = 4096;
constexpr size_t kMaxRank = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

[[noreturn]] void broken(const std::string& file, const std::string& rule) {
  throw BadWeights(text(printable(file), ": ", rule));
}

struct HeaderTensor {
  std::string name;
  std::optional<std::string> type;
  std::optional<std::vector<uint64_t>> shape, offsets;
};

// Reads the header event by event: no tree is built, so a hostile header costs no more memory than its own size, and
// repeated keys, which a tree would swallow, are seen.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  std::vector<HeaderTensor> tensors;
  std::map<std::string, std::string> metadata;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a truth value"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_float(number_float_t, const string_t& text_of) override { return unexpected("the number " + text_of); }
  bool number_integer(number_integer_t value) override { return unexpected("the number " + std::to_string(value)); }

  bool number_unsigned(number_unsigned_t value) override {
    if (list_ == nullptr) return unexpected("the number " + std::to_string(value));
    if (list_->size() >= kMaxRank) broken(file_, text(where(), " has more than ", kMaxRank, " entries"));
    list_->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (depth_ == 2 && in_metadata_) {
      if (metadata.size() >= kMaxTensorCount)
        broken(file_, text("it has more than ", kMaxTensorCount, " metadata keys"));
      if (!metadata.emplace(field_, value).second)
        broken(file_, text("metadata key '", printable(field_), "' occurs twice"));
      return true;
    }
    if (depth_ != 2 || field_ != "dtype") return unexpected("the string '" + printable(value) + "'");
    if (tensors.back().type) broken(file_, text(where(), " occurs twice"));
    tensors.back().type = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (list_ != nullptr || depth_ >= 2) return unexpected("an object");
    ++depth_;
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 2) {
      field_ = name;
      if (!in_metadata_ && name != "dtype" && name != "shape" && name != "data_offsets") {
        broken(file_, text(where(), " is unknown, allowed are dtype, shape and data_offsets"));
      }
      return true;
    }
    field_.clear();
    in_metadata_ = name == kMetadataKey;
    if (in_metadata_) {
      if (metadata_seen_) broken(file_, text("'", kMetadataKey, "' occurs twice"));
      metadata_seen_ = true;
      return true;
    }
    if (name.empty()) broken(file_, "a tensor has an empty name");
    if (name.size() > kMaxNameBytes) {
      broken(file_, text("the tensor name '", printable(name), "' has ", name.size(), " bytes, at most ", kMaxNameBytes,
                         " are read"));
    }
    if (tensors.size() >= kMaxTensorCount) broken(file_, text("it has more than ", kMaxTensorCount, " tensors"));
    tensors.push_back({name, {}, {}, {}});
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ != 1 || in_metadata_) return true;
    const HeaderTensor& tensor = tensors.back();
    field_.clear();
    const char* const missing = !tensor.type      ? "dtype"
                                : !tensor.shape   ? "shape"
                                : !tensor.offsets ? "data_offsets"
                                                  : nullptr;
    if (missing != nullptr) broken(file_, text(where(), " has no ", missing));
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || list_ != nullptr || field_ == "dtype") return unexpected("a list");
    auto& slot = field_ == "shape" ? tensors.back().shape : tensors.back().offsets;
    if (slot) broken(file_, text(where(), " occurs twice"));
    list_ = &slot.emplace();
    return true;
  }

  bool end_array() override {
    list_ = nullptr;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    broken(file_, text("the header is not valid JSON at its byte ", position));
  }

 private:
  std::string where() const {
    if (depth_ == 0) return "the header";
    if (in_metadata_) return text("metadata '", printable(field_), "'");
    if (tensors.empty()) return "the header";
    return text("tensor '", printable(tensors.back().name), "'", field_.empty() ? "" : ": field '", printable(field_),
                field_.empty() ? "" : "'");
  }
  [[noreturn]] bool unexpected(const std::string& found) {
    const char* wanted = "an object";
    if (depth_ == 2) wanted = in_metadata_ || field_ == "dtype" ? "a string" : "a list of whole numbers from 0 up";
    broken(file_, text(where(), " holds ", found, ", ", wanted, " is needed"));
  }

  const std::string& file_;
  int depth_ = 0;
  bool in_metadata_ = false, metadata_seen_ = false;
  std::string field_;
  std::vector<uint64_t>* list_ = nullptr;
};

// Says what a file is that is certainly not safetensors; people often hold one of these.
[[noreturn]] void refuse_other_kind(const std::string& file, std::string_view start, const std::string& rule) {
  const auto is = [start](std::string_view magic) { return start.substr(0, magic.size()) == magic; };
  if (is("GGUF"))
    throw Unsupported(text(printable(file), ": is a GGUF file, which cannot be a shard; safetensors is needed"));
  if (is("PK\x03\x04") || is("\x80\x02") || is("\x80\x03") || is("\x80\x04") || is("\x80\x05")) {
    throw Unsupported(text(printable(file),
                           ": is a Python pickle (.ckpt, .pt, .bin), which can run code and is never read; "
                           "convert it to safetensors"));
  }
  if (is("\x89HDF")) throw Unsupported(text(printable(file), ": is an HDF5 file; safetensors is needed"));
  if (is("version https://git-lfs")) broken(file, "is a git-lfs pointer, not the file itself; run 'git lfs pull'");
  const size_t first = start.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos) {
    const std::string_view body = start.substr(first);
    if (body[0] == '<') broken(file, "is an HTML or XML page, not safetensors; the download probably failed");
    if (body[0] == '{') broken(file, "is a JSON text, not safetensors; an index of shards is named *.index.json");
  }
  broken(file, rule);
}

std::string read_header(const InputFile& input) {
  const std::string& file = input.shown();
  if (input.size() == 0) broken(file, "is empty");
  std::string start(std::min<uint64_t>(input.size(), 64), '\0');
  input.read(0, start.data(), start.size());
  if (start.size() < 8)
    refuse_other_kind(file, start, text("has ", start.size(), " bytes, a safetensors file has at least 10"));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(start[static_cast<size_t>(i)]);
  const size_t first = start.find_first_not_of(" \t\r\n", 8);
  const bool opens = first != std::string::npos && start[first] == '{';
  if (length > kMaxHeaderBytes) {
    refuse_other_kind(
        file, start,
        text("is no safetensors file: the header length is ", length, ", at most ", kMaxHeaderBytes, " is allowed"));
  }
  if (length > input.size() - 8) {
    const std::string rule = text("the header length is ", length, ", but only ", input.size() - 8,
                                  " bytes follow; the file is cut off or damaged");
    if (opens) broken(file, rule);
    refuse_other_kind(file, start, rule);
  }
  if (!opens || length < 2) refuse_other_kind(file, start, "the header does not begin with '{'");
  std::string header(length, '\0');
  input.read(8, header.data(), length);
  return header;
}

TensorEntry checked_entry(const std::string& file, const HeaderTensor& tensor) {
  const std::string name = text("tensor '", printable(tensor.name), "': ");
  TensorEntry entry;
  entry.name = tensor.name;
  entry.file = file;
  const auto known = stored_type_named(*tensor.type);
  if (!known || is_block_type(*known)) {
    throw Unsupported(
        text(printable(file), ": ", name, "its type '", printable(*tensor.type), "' is not one this library reads"));
  }
  entry.type = *known;
  if (tensor.offsets->size() != 2)
    broken(file, text(name, "data_offsets has ", tensor.offsets->size(), " entries, 2 are needed"));
  const uint64_t begin = (*tensor.offsets)[0], end = (*tensor.offsets)[1];
  if (begin > end) broken(file, text(name, "data_offsets begin at ", begin, " after their end ", end));

  // An axis of zero must not hide that the others overflow, so it counts as one here.
  int64_t capacity = stored_type_size(entry.type);
  bool empty = false;
  for (const uint64_t size : *tensor.shape) {
    empty = empty || size == 0;
    if (size > INT64_MAX ||
        __builtin_mul_overflow(capacity, static_cast<int64_t>(std::max<uint64_t>(size, 1)), &capacity)) {
      broken(file, text(name, "its shape has more elements than 64 bits can count"));
    }
    entry.shape.push_back(static_cast<int64_t>(size));
  }
  entry.byte_count = empty ? 0 : static_cast<uint64_t>(capacity);
  if (end - begin != entry.byte_count) {
    broken(file, text(name, "data_offsets span ", end - begin, " bytes, its shape and type need ", entry.byte_count));
  }
  return entry;
}

class SafetensorsFile final : public TensorSource {
 public:
  SafetensorsFile(const std::string& path, const std::string& shown, FileAccess access) : path_(shown) {
    const InputFile input(path, shown);
    const std::string header = read_header(input);
    // The JSON parser takes a zero byte for the end and would not see what follows.
    const size_t zero = header.find('\0');
    if (zero != std::string::npos) broken(path_, text("the header is not valid JSON at its byte ", zero));
    HeaderReader reader(path_);
    nlohmann::json::sax_parse(header, &reader);
    metadata_ = std::move(reader.metadata);

    const uint64_t data_start = 8 + header.size(), data_size = input.size() - data_start;
    std::sort(reader.tensors.begin(), reader.tensors.end(),
              [](const HeaderTensor& a, const HeaderTensor& b) { return *a.offsets < *b.offsets; });
    uint64_t expected = 0;
    for (const HeaderTensor& tensor : reader.tensors) {
      entries_.push_back(checked_entry(path_, tensor));
      const uint64_t begin = (*tensor.offsets)[0], end = (*tensor.offsets)[1];
      if (begin != expected) {
        broken(path_,
               text("tensor '", printable(tensor.name), "': starts at byte ", begin, " of the data, ",
                    begin < expected ? "inside the tensor before it" : "leaving a hole", "; ", expected, " is needed"));
      }
      if (end > data_size) {
        broken(path_, text("tensor '", printable(tensor.name), "': ends at byte ", end,
                           " of the data, the file has only ", data_size, "; it is cut off or damaged"));
      }
      expected = end;
    }
    if (expected != data_size)
      broken(path_, text(data_size - expected, " bytes follow the last tensor, none are allowed"));

    bytes_ = input.contents(data_start, access);
    uint64_t offset = 0;
    for (TensorEntry& entry : entries_) {
      entry.data = bytes_.get() + offset;
      entry.mapped = access == FileAccess::map;
      offset += entry.byte_count;
    }
    std::sort(entries_.begin(), entries_.end(),
              [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
    for (size_t i = 1; i < entries_.size(); ++i) {
      if (entries_[i].name == entries_[i - 1].name)
        broken(path_, text("tensor '", printable(entries_[i].name), "' occurs twice"));
    }
  }

  const std::vector<TensorEntry>& entries() const override { return entries_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  std::string path_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::shared_ptr<const std::byte> bytes_;
};

}  // namespace

std::shared_ptr<const TensorSource> open_safetensors(const std::string& path, const std::string& shown,
                                                     FileAccess access) {
  return std::make_shared<SafetensorsFile>(path, shown, access);
}

}  // namespace ltxv
