#pragma once
// Checked reading of one JSON object of a configuration: every value has a range, and what nobody asked for is an error.
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ltxv {

class ConfigObject {
 public:
  /// Errors: BadWeights when `json` is not an object. `where` names the file in every message.
  ConfigObject(const nlohmann::json& json, std::string where);

  bool has(const char* key) const;  ///< present and not null
  /// Each reads one key, or returns the fallback when it is absent or null. Errors: BadWeights (wrong type, out of range).
  int64_t integer(const char* key, int64_t fallback, int64_t least, int64_t most);
  double number(const char* key, double fallback);
  bool boolean(const char* key, bool fallback);
  std::string string(const char* key, const std::string& fallback);
  std::vector<int64_t> integers(const char* key, std::vector<int64_t> fallback, int64_t least, int64_t most);
  std::vector<bool> booleans(const char* key, std::vector<bool> fallback);
  std::vector<std::string> strings(const char* key, std::vector<std::string> fallback);
  /// The raw array under `key`. Errors: BadWeights (absent, not an array, or more than `most` entries).
  const nlohmann::json& array(const char* key, size_t most);

  /// Whatever is under a key that is there, to be looked into by the caller. Errors: BadWeights (absent).
  const nlohmann::json& peek(const char* key);

  /// Accepts a key whose value changes nothing here.
  void ignore(const char* key) { read_.insert(key); }
  /// Accepts a key only with one value. Errors: Unsupported naming both.
  void require(const char* key, const nlohmann::json& value, const nlohmann::json& when_absent);
  /// Errors: Unsupported naming the first key that nobody read; keys starting with "_" are private and pass.
  void finish() const;

  const std::string& where() const { return where_; }
  std::string at(std::string_view key) const { return where_ + ": \"" + std::string(key) + "\""; }

 private:
  const nlohmann::json* find(const char* key);
  const nlohmann::json& json_;
  std::string where_;
  std::set<std::string> read_;
};

/// One integer inside a list or object. Errors: BadWeights (not an integer, out of range), starting with `what`.
int64_t checked_integer(const nlohmann::json& value, const std::string& what, int64_t least, int64_t most);

}  // namespace ltxv
