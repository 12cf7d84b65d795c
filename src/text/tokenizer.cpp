#include "text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "text/sentencepiece_check.h"

// Exported by the library, but in none of its installed headers.
namespace sentencepiece::logging {
void SetMinLogLevel(int level);
}

namespace ltxv {
namespace {

constexpr int64_t kPad = 0, kEnd = 1, kUnknown = 2;
constexpr size_t kMaxPromptBytes = 32 * 1024;
constexpr int64_t kMaxTokens = 65536;
constexpr int kDefaultExtraIds = 100;
constexpr size_t kMaxModelBytes = 64'000'000, kMaxJsonBytes = 16'000'000;
constexpr size_t kMaxAddedBytes = 512;
constexpr int64_t kMaxAddedId = 10'000'000;

// Where Python's str.strip() finds white space: str.isspace() of Unicode 15.
bool is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t character_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// One character of valid UTF-8.
uint32_t decoded(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(character[i])); };
  if (character.size() == 1) return byte(0);
  uint32_t value = byte(0) & (0x7fu >> character.size());
  for (size_t i = 1; i < character.size(); ++i) value = value << 6 | (byte(i) & 0x3f);
  return value;
}

std::string_view stripped(std::string_view text_in) {
  while (!text_in.empty()) {
    const size_t count = character_bytes(text_in[0]);
    if (!is_space(decoded(text_in.substr(0, count)))) break;
    text_in.remove_prefix(count);
  }
  while (!text_in.empty()) {
    size_t start = text_in.size() - 1;
    while ((static_cast<unsigned char>(text_in[start]) & 0xc0) == 0x80) --start;
    if (!is_space(decoded(text_in.substr(start)))) break;
    text_in.remove_suffix(text_in.size() - start);
  }
  return text_in;
}

// The bytes of a regular file; false when there is none or it cannot be read.
bool read_file(const std::string& path, size_t max_bytes, std::string& bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return false;
  LTXV_REQUIRE(BadWeights, size <= max_bytes, path, ": has ", size, " bytes, at most ", max_bytes, " are read");
  bytes.resize(size);
  std::ifstream in(path, std::ios::binary);
  return in && in.read(bytes.data(), static_cast<std::streamsize>(size));
}

// Special strings by the JSON files that accompany a tokenizer. Only what the ids depend on is looked at.
class SpecialStrings {
 public:
  SpecialStrings(const std::string& folder, int64_t piece_count) {
    ids_ = {{"<pad>", kPad}, {"</s>", kEnd}, {"<unk>", kUnknown}};
    const std::string config_path = folder + "tokenizer_config.json", added_path = folder + "added_tokens.json";
    const nlohmann::json config = parsed(config_path), added = parsed(added_path);
    int extra_ids = kDefaultExtraIds;
    if (const auto at = config.find("extra_ids"); at != config.end() && at->is_number_integer()) {
      const auto count = at->get<int64_t>();
      LTXV_REQUIRE(BadWeights, count >= 0 && count <= 10'000, config_path, ": extra_ids is ", count,
                   ", 0 to 10000 are allowed");
      extra_ids = static_cast<int>(count);
    } else if (const auto list = config.find("additional_special_tokens"); list != config.end() && list->is_array()) {
      const auto is_extra = [](const nlohmann::json& token) {
        return token.is_string() && token.get_ref<const std::string&>().starts_with("<extra_id_");
      };
      const auto count = std::count_if(list->begin(), list->end(), is_extra);
      if (count > 0) extra_ids = static_cast<int>(std::min<int64_t>(count, 10'000));
    }
    for (int n = 0; n < extra_ids; ++n) ids_[text("<extra_id_", n, ">")] = piece_count + extra_ids - 1 - n;

    for (const auto& [name, id] : added.items()) add(added_path, name, id);
    if (const auto decoder = config.find("added_tokens_decoder"); decoder != config.end() && decoder->is_object()) {
      for (const auto& [id_text, token] : decoder->items()) {
        if (!token.is_object() || !token.contains("content") || !token["content"].is_string()) continue;
        add(config_path, token["content"].get<std::string>(), nlohmann::json::parse(id_text, nullptr, false));
      }
    }
    for (const auto& [name, id] : ids_) {
      lengths_.insert(name.size());
      if (first_bytes_.find(name[0]) == std::string::npos) first_bytes_ += name[0];
      largest_id_ = std::max(largest_id_, id);
    }
  }

  /// The longest special string at the beginning of `rest`; nullptr when there is none.
  const std::pair<const std::string, int64_t>* match(std::string_view rest) const {
    for (const size_t length : lengths_) {
      const auto at = ids_.find(rest.substr(0, length));
      if (at != ids_.end() && at->first.size() == length) return &*at;
    }
    return nullptr;
  }
  /// Whether any special string starts with this byte, so that a search looks closely at few places.
  const std::string& first_bytes() const { return first_bytes_; }
  int64_t largest_id() const { return largest_id_; }

 private:
  static nlohmann::json parsed(const std::string& path) {
    std::string bytes;
    if (!read_file(path, kMaxJsonBytes, bytes)) return nlohmann::json::object();
    nlohmann::json value = nlohmann::json::parse(bytes, nullptr, false);
    LTXV_REQUIRE(BadWeights, value.is_object() && bytes.find('\0') == std::string::npos, path,
                 ": is not a JSON object");
    return value;
  }
  void add(const std::string& path, const std::string& name, const nlohmann::json& id) {
    const bool usable =
        !name.empty() && name.size() <= kMaxAddedBytes && id.is_number_integer() && id >= 0 && id < kMaxAddedId;
    LTXV_REQUIRE(BadWeights, usable, path, ": added token '", name, "' has no usable id");
    ids_[name] = id.get<int64_t>();
  }

  std::map<std::string, int64_t, std::less<>> ids_;
  std::set<size_t, std::greater<>> lengths_;
  std::string first_bytes_;
  int64_t largest_id_ = 0;
};

}  // namespace

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
  std::unique_ptr<SpecialStrings> special;
};

Tokenizer Tokenizer::load(const std::string& spiece_model_path) {
  constexpr int kSilent = 4;  // above FATAL
  sentencepiece::logging::SetMinLogLevel(kSilent);
  std::string bytes;
  LTXV_REQUIRE(IoError, read_file(spiece_model_path, kMaxModelBytes, bytes), spiece_model_path,
               ": is no file that can be read");
  check_sentencepiece_model(bytes, spiece_model_path);

  auto model = std::make_shared<Model>();
  const auto status = model->processor.LoadFromSerializedProto(bytes);
  LTXV_REQUIRE(BadWeights, status.ok(), spiece_model_path, ": is refused by sentencepiece: ", status.error_message());
  const char* const kNames[] = {"<pad>", "</s>", "<unk>"};
  for (int id = 0; id < 3; ++id) {
    LTXV_REQUIRE(BadWeights, id < model->processor.GetPieceSize() && model->processor.IdToPiece(id) == kNames[id],
                 spiece_model_path, ": is no T5 vocabulary: piece ", id, " is not '", kNames[id], "'");
  }
  LTXV_REQUIRE(BadWeights, model->processor.unk_id() == kUnknown, spiece_model_path,
               ": is no T5 vocabulary: the unknown piece is ", model->processor.unk_id(), ", not 2");
  const std::string folder = spiece_model_path.substr(0, spiece_model_path.rfind('/') + 1);
  model->special = std::make_unique<SpecialStrings>(folder, model->processor.GetPieceSize());
  return Tokenizer(std::move(model));
}

TokenizedPrompt Tokenizer::encode(std::string_view utf8_prompt, int64_t max_length) const {
  LTXV_CHECK(max_length >= 1 && max_length <= kMaxTokens, "token count ", max_length, " is not from 1 to ", kMaxTokens);
  LTXV_CHECK(utf8_prompt.size() <= kMaxPromptBytes, "the prompt has ", utf8_prompt.size(), " bytes, at most ",
             kMaxPromptBytes, " are allowed");
  const size_t invalid = find_invalid_utf8(utf8_prompt);
  LTXV_CHECK(invalid == std::string_view::npos, "the prompt is not valid UTF-8 at byte ", invalid);
  const size_t zero = utf8_prompt.find('\0');
  LTXV_CHECK(zero == std::string_view::npos, "the prompt has a zero byte at byte ", zero);

  TokenizedPrompt out;
  const auto append = [&](std::string_view plain) {
    // U+0085 is the one white space the model's own normalisation leaves alone, the reference splits words there all
    // the same.
    std::string spaced(plain);
    for (size_t at = 0; (at = spaced.find("\xc2\x85", at)) != std::string::npos;) spaced.replace(at, 2, " ");
    std::vector<int> ids;
    const auto status = model_->processor.Encode(spaced, &ids);
    LTXV_REQUIRE(InternalError, status.ok(), "sentencepiece cannot encode the prompt: ", status.error_message());
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  };
  std::string_view rest = stripped(utf8_prompt);
  for (size_t at = rest.find_first_of(model_->special->first_bytes()); at != std::string_view::npos;
       at = rest.find_first_of(model_->special->first_bytes(), at)) {
    const auto* const special = model_->special->match(rest.substr(at));
    if (special == nullptr) {
      ++at;
      continue;
    }
    append(rest.substr(0, at));
    out.ids.push_back(special->second);
    rest.remove_prefix(at + special->first.size());
    at = 0;
  }
  append(rest);

  const auto length = static_cast<size_t>(max_length), kept = std::min(out.ids.size(), length - 1);
  out.dropped_count = static_cast<int64_t>(out.ids.size() - kept);
  out.ids.resize(kept);
  out.ids.push_back(kEnd);
  out.mask.assign(out.ids.size(), 1);
  out.ids.resize(length, kPad);
  out.mask.resize(length, 0);
  return out;
}

int64_t Tokenizer::piece_count() const { return model_->processor.GetPieceSize(); }

int64_t Tokenizer::id_limit() const { return std::max(piece_count(), model_->special->largest_id() + 1); }

}  // namespace ltxv
