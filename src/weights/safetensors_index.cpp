// Sharded files: `*.index.json` names the shard of every tensor, the shards lie beside it.
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "base/error.h"
#include "weights/file_bytes.h"
#include "weights/safetensors.h"

namespace ltxv {
namespace {

constexpr uint64_t kMaxIndexBytes = 64'000'000;
constexpr int kMaxDepth = 16;
constexpr size_t kMaxShardCount = 1000;

[[noreturn]] void broken(const std::string& file, const std::string& rule) {
  throw BadWeights(text(printable(file), ": ", rule));
}

// Takes `weight_map` and nothing else; sizes and remarks an index also carries are often wrong and never needed.
class IndexReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit IndexReader(const std::string& file) : file_(file) {}

  std::map<std::string, std::string> shard_of;
  bool map_seen = false;

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("a truth value"); }
  bool binary(binary_t&) override { return value("binary data"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool string(string_t& shard) override {
    if (!in_map_ || depth_ != 2) return value("a string");
    if (!shard_of.emplace(name_, shard).second)
      broken(file_, text("tensor '", printable(name_), "' occurs twice in weight_map"));
    return true;
  }
  bool start_object(std::size_t) override {
    if (in_map_ && depth_ >= 2) return value("an object");
    return deeper();
  }
  bool start_array(std::size_t) override {
    if (depth_ == 0 || in_map_) return value("a list");
    return deeper();
  }
  bool key(string_t& name) override {
    if (depth_ == 1) {
      in_map_ = name == "weight_map";
      if (in_map_ && map_seen) broken(file_, "'weight_map' occurs twice");
      map_seen = map_seen || in_map_;
    }
    name_ = name;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    broken(file_, text("is not valid JSON at byte ", position));
  }

 private:
  bool value(const char* found) {
    if (depth_ == 0) broken(file_, text("holds ", found, ", an object with 'weight_map' is needed"));
    if (in_map_ && depth_ == 1) broken(file_, text("'weight_map' is ", found, ", an object is needed"));
    if (in_map_)
      broken(file_, text("weight_map: tensor '", printable(name_), "' has ", found, ", a file name is needed"));
    return true;
  }
  bool deeper() {
    if (++depth_ > kMaxDepth) broken(file_, text("is nested deeper than ", kMaxDepth, " levels"));
    return true;
  }

  const std::string& file_;
  int depth_ = 0;
  bool in_map_ = false;
  std::string name_;
};

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string resolved(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (!real) throw IoError(text(printable(path), ": cannot be opened: ", std::generic_category().message(errno)));
  return real.get();
}

// The shard's real path. A link is followed only to the index's folder or to where the index itself really lies:
// download caches keep index and shards as links into one store, anything else is a way out of the model's folder.
std::string contained_shard(const std::string& index, const std::string& shard) {
  if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos ||
      shard.find('\0') != std::string::npos) {
    broken(index, text("weight_map names the shard '", printable(shard),
                       "', a plain file name in the index's own folder is needed"));
  }
  const std::string real = resolved(folder_of(index) + "/" + shard);
  const std::string home = folder_of(real);
  if (home != resolved(folder_of(index)) && home != folder_of(resolved(index))) {
    broken(index, text("the shard '", printable(shard), "' is a link out of the index's folder"));
  }
  return real;
}

class ShardedSource final : public TensorSource {
 public:
  ShardedSource(const std::string& path, FileAccess access) : path_(path) {
    const InputFile input(path, path);
    if (input.size() > kMaxIndexBytes) {
      broken(path, text("the index has ", input.size(), " bytes, at most ", kMaxIndexBytes, " are allowed"));
    }
    std::string json(input.size(), '\0');
    input.read(0, json.data(), json.size());
    if (json.starts_with("version https://git-lfs"))
      broken(path, "is a git-lfs pointer, not the file itself; run 'git lfs pull'");
    // The JSON parser takes a zero byte for the end and would not see what follows.
    if (json.find('\0') != std::string::npos) broken(path, text("is not valid JSON at byte ", json.find('\0')));
    IndexReader reader(path_);
    nlohmann::json::sax_parse(json, &reader);
    if (reader.shard_of.empty()) broken(path, reader.map_seen ? "'weight_map' is empty" : "has no 'weight_map'");

    std::set<std::string> names;
    for (const auto& [tensor, shard] : reader.shard_of) names.insert(shard);
    if (names.size() > kMaxShardCount)
      broken(path, text("names ", names.size(), " shards, at most ", kMaxShardCount, " are read"));
    std::map<std::string, std::string> files;  // name of a shard -> what its entries call it
    for (const std::string& name : names) {
      const std::string shown =
          folder_of(path) == "." && path.find('/') == std::string::npos ? name : folder_of(path) + "/" + name;
      shards_.push_back(open_safetensors(contained_shard(path, name), shown, access));
      files[name] = shown;
      const auto& of_shard = shards_.back()->entries();
      entries_.insert(entries_.end(), of_shard.begin(), of_shard.end());
      metadata_.insert(shards_.back()->metadata().begin(), shards_.back()->metadata().end());
    }
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
    for (size_t i = 1; i < entries_.size(); ++i) {
      if (entries_[i].name != entries_[i - 1].name) continue;
      broken(path, text("tensor '", printable(entries_[i].name), "' lies in two shards, ",
                        printable(entries_[i - 1].file), " and ", printable(entries_[i].file)));
    }
    for (const auto& [tensor, shard] : reader.shard_of) {
      const TensorEntry* const entry = find(tensor);
      if (entry == nullptr || entry->file != files[shard]) {
        broken(path,
               text("tensor '", printable(tensor), "' is said to lie in '", printable(shard), "', but is not there"));
      }
    }
  }

  const std::vector<TensorEntry>& entries() const override { return entries_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  std::string path_;
  std::vector<std::shared_ptr<const TensorSource>> shards_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

std::shared_ptr<const TensorSource> open_safetensors_index(const std::string& path, FileAccess access) {
  return std::make_shared<ShardedSource>(path, access);
}

}  // namespace ltxv
