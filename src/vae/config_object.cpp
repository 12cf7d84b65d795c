#include "vae/config_object.h"

#include <cmath>

namespace ltxv {
namespace {

constexpr size_t kMostListEntries = 64;

/// A value for a message; files can hold megabytes in one string.
std::string shortened(const nlohmann::json& value) {
  std::string s = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (s.size() > 60) s = s.substr(0, 57) + "...";
  return s;
}

}  // namespace

int64_t checked_integer(const nlohmann::json& value, const std::string& what, int64_t least, int64_t most) {
  // An unsigned value beyond int64 must not wrap: compare it as it is stored.
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  const int64_t n = fits ? value.get<int64_t>() : 0;
  LTXV_REQUIRE(BadWeights, fits && n >= least && n <= most, what, " is ", shortened(value), ", an integer from ", least, " to ",
               most, " is needed");
  return n;
}

ConfigObject::ConfigObject(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {
  LTXV_REQUIRE(BadWeights, json.is_object(), where_, ": the configuration is ", shortened(json), ", an object is needed");
}

bool ConfigObject::has(const char* key) const {
  const auto it = json_.find(key);
  return it != json_.end() && !it->is_null();
}

const nlohmann::json* ConfigObject::find(const char* key) {
  read_.insert(key);
  const auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

int64_t ConfigObject::integer(const char* key, int64_t fallback, int64_t least, int64_t most) {
  const auto* v = find(key);
  return v ? checked_integer(*v, at(key), least, most) : fallback;
}

double ConfigObject::number(const char* key, double fallback) {
  const auto* v = find(key);
  if (!v) return fallback;
  LTXV_REQUIRE(BadWeights, v->is_number() && std::isfinite(v->get<double>()), at(key), " is ", shortened(*v),
               ", a finite number is needed");
  return v->get<double>();
}

bool ConfigObject::boolean(const char* key, bool fallback) {
  const auto* v = find(key);
  if (!v) return fallback;
  LTXV_REQUIRE(BadWeights, v->is_boolean(), at(key), " is ", shortened(*v), ", true or false is needed");
  return v->get<bool>();
}

std::string ConfigObject::string(const char* key, const std::string& fallback) {
  const auto* v = find(key);
  if (!v) return fallback;
  LTXV_REQUIRE(BadWeights, v->is_string(), at(key), " is ", shortened(*v), ", a string is needed");
  return v->get<std::string>();
}

const nlohmann::json& ConfigObject::peek(const char* key) {
  const auto* v = find(key);
  LTXV_REQUIRE(BadWeights, v, at(key), " is missing");
  return *v;
}

const nlohmann::json& ConfigObject::array(const char* key, size_t most) {
  const auto* v = find(key);
  LTXV_REQUIRE(BadWeights, v, at(key), " is missing");
  LTXV_REQUIRE(BadWeights, v->is_array() && v->size() <= most, at(key), " is ", shortened(*v), ", a list of at most ", most,
               " entries is needed");
  return *v;
}

std::vector<int64_t> ConfigObject::integers(const char* key, std::vector<int64_t> fallback, int64_t least,
                                            int64_t most) {
  if (!find(key)) return fallback;
  std::vector<int64_t> out;
  for (const auto& v : array(key, kMostListEntries)) {
    out.push_back(checked_integer(v, text(at(key), "[", out.size(), "]"), least, most));
  }
  return out;
}

std::vector<bool> ConfigObject::booleans(const char* key, std::vector<bool> fallback) {
  if (!find(key)) return fallback;
  std::vector<bool> out;
  for (const auto& v : array(key, kMostListEntries)) {
    LTXV_REQUIRE(BadWeights, v.is_boolean(), at(key), "[", out.size(), "] is ", shortened(v), ", true or false is needed");
    out.push_back(v.get<bool>());
  }
  return out;
}

std::vector<std::string> ConfigObject::strings(const char* key, std::vector<std::string> fallback) {
  if (!find(key)) return fallback;
  std::vector<std::string> out;
  for (const auto& v : array(key, kMostListEntries)) {
    LTXV_REQUIRE(BadWeights, v.is_string(), at(key), "[", out.size(), "] is ", shortened(v), ", a string is needed");
    out.push_back(v.get<std::string>());
  }
  return out;
}

void ConfigObject::require(const char* key, const nlohmann::json& value, const nlohmann::json& when_absent) {
  const auto* found = find(key);
  const nlohmann::json& v = found ? *found : when_absent;
  LTXV_REQUIRE(Unsupported, v == value, at(key), " is ", shortened(v), found ? "" : " (by default)", ", only ",
               shortened(value), " is supported");
}

void ConfigObject::finish() const {
  for (const auto& [key, value] : json_.items()) {
    LTXV_REQUIRE(Unsupported, read_.count(key) || key.rfind("_", 0) == 0, where_, ": unknown key \"",
                 key.size() > 60 ? key.substr(0, 57) + "..." : key, "\"");
  }
}

}  // namespace ltxv
