// `ltxv info`: what the library says as JSON, readable.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "commands.h"

namespace cli {
namespace {

using nlohmann::ordered_json;

std::string scalar_text(const std::string& key, const ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() && key == "parameters") return short_count(value.get<double>(), "");
  if (value.is_number() && key.ends_with("bytes")) return short_count(value.get<double>(), "B");
  if (value.is_null()) return "-";
  if (value.is_number_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value.get<double>());
    return text;
  }
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

bool is_flat(const ordered_json& value) {
  return std::all_of(value.begin(), value.end(), [](const ordered_json& item) { return !item.is_structured(); });
}

void append(const ordered_json& value, const std::string& key, const std::string& indent, std::string& out) {
  if (!value.is_structured()) {
    out += indent + key + ": " + scalar_text(key, value) + "\n";
  } else if (value.empty()) {
    out += indent + key + ": none\n";
  } else if (value.is_array() && is_flat(value)) {
    std::string list;
    for (const ordered_json& item : value) list += (list.empty() ? "" : ", ") + scalar_text(key, item);
    out += indent + key + ": " + list + "\n";
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) append(value[i], key + " " + std::to_string(i), indent, out);
  } else {
    out += indent + key + ":\n";
    for (const auto& [inner_key, inner] : value.items()) append(inner, inner_key, indent + "  ", out);
  }
}

}  // namespace

std::string short_count(double value, const char* unit) {
  const char* suffix = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (value < 1000) break;
    value /= 1000;
    suffix = next;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%.3g%s%s%s", value, *suffix || *unit ? " " : "", suffix, unit);
  return text;
}

std::string readable(const std::string& json_text) {
  const ordered_json object = ordered_json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return json_text;
  std::string out;
  for (const auto& [key, value] : object.items()) append(value, key, "", out);
  if (!out.empty()) out.pop_back();
  return out;
}

void run_info(const Options& options, Reporter& reporter) {
  const std::string json_text = options.input.empty() ? std::string(ltxv::describe()) : ltxv::inspect(options.input);
  ordered_json object{{"event", "result"}};
  const ordered_json facts = ordered_json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (facts.is_object()) object.update(facts);
  reporter.result(readable(json_text), object);
}

}  // namespace cli
