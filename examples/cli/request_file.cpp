// --request and replay: a JSON object whose keys are option names becomes words of the command line, so that all have the same
// rules.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "options.h"

namespace cli {
namespace {

using nlohmann::json;

/// Keys that --print-request writes under other names than the options have.
const std::map<std::string, std::string> kOtherNames = {{"negative_prompt", "negative"},
                                                        {"num_frames", "frames"},
                                                        {"frame_rate", "fps"},
                                                        {"num_inference_steps", "steps"},
                                                        {"guidance_scale", "guidance"},
                                                        {"conditions", "condition"},
                                                        {"loras", "lora"},
                                                        {"prompt_embeds", "prompt-embeds"},
                                                        {"negative_prompt_embeds", "negative-prompt-embeds"},
                                                        {"given_release", "release"},
                                                        {"pass2_num_inference_steps", "pass2-steps"},
                                                        {"pass2_guidance_scale", "pass2-guidance"}};
/// Facts about a finished run that are not options.
const char* const kIgnored[] = {"release", "computed", "pass2_computed", "ltxv_version", "libtorch", "cpu_capability", "device_name"};
/// Options that have a --no- form: false in a file is an answer, not silence.
const char* const kToggles[] = {"cfg-star", "stochastic", "pass2-cfg-star", "pass2-stochastic"};

std::string scalar_word(const json& value, const std::string& key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  throw UsageError("generate", "--request: '" + key + "' must be a number or a string, found " + value.dump());
}

/// An object with a path, and nothing but the keys named.
bool is_item(const json& item, std::initializer_list<std::string_view> keys) {
  if (!item.is_object() || !item.contains("path") || !item["path"].is_string()) return false;
  const auto& members = item.items();
  return std::all_of(members.begin(), members.end(),
                     [&](const auto& member) { return std::find(keys.begin(), keys.end(), member.key()) != keys.end(); });
}

std::string condition_word(const json& item) {
  if (!is_item(item, {"path", "frame", "strength"}))
    throw UsageError("generate",
                     "--request: a condition is an object with path, frame and strength, found " + item.dump());
  std::string word = item["path"].get<std::string>() + "@" + item.value("frame", json(0)).dump();
  if (item.contains("strength")) word += ":" + item["strength"].dump();
  return word;
}

std::string lora_word(const json& item) {
  if (item.is_string()) return item.get<std::string>();
  if (!is_item(item, {"path", "strength"}))
    throw UsageError("generate", "--request: a LoRA is a path, or an object with path and strength, found " + item.dump());
  return item["path"].get<std::string>() + ":" + item.value("strength", json(1)).dump();
}

/// One option. A value may be empty or begin with '-', which the parser would take for another option.
void add_option(const std::string& name, const std::string& value, std::vector<std::string>& words) {
  if (value.empty()) {
    words.insert(words.end(), {"--" + name, value});
  } else {
    words.push_back("--" + name + "=" + value);
  }
}

bool has_option(const std::vector<std::string>& words, const std::string& option) {
  return std::any_of(words.begin(), words.end(),
                     [&](const std::string& w) { return w == option || w.starts_with(option + "="); });
}

/// The object as words of a command line, without what cannot stand beside the options in `words`.
std::vector<std::string> words_of(const json& request, const std::vector<std::string>& words) {
  const bool other_steps = has_option(words, "--steps");
  const bool other_length = has_option(words, "--seconds");
  std::vector<std::string> options;
  for (const auto& [key, value] : request.items()) {
    if (std::find(std::begin(kIgnored), std::end(kIgnored), key) != std::end(kIgnored)) continue;
    const auto renamed = kOtherNames.find(key);
    std::string name = renamed != kOtherNames.end() ? renamed->second : key;
    std::replace(name.begin(), name.end(), '_', '-');
    if (name == "request" || name == "print-request" || name == "help")
      throw UsageError("generate", "--request: '" + key + "' cannot stand in the file");
    // A printed request holds the step count and the noise levels that follow from it; the levels are the exact ones.
    if (name == "steps" && (other_steps || request.contains("sigmas"))) continue;
    if (name == "pass2-sigmas" && has_option(words, "--pass2-steps")) continue;
    if (name == "pass2-steps" && (has_option(words, "--pass2-sigmas") || request.contains("pass2_sigmas"))) continue;
    if (name == "steps" && has_option(words, "--sigmas")) continue;
    if ((name == "sigmas" && other_steps) || (name == "frames" && other_length)) continue;
    if (name == "condition" && value.is_array()) {
      for (const json& item : value) add_option(name, condition_word(item), options);
    } else if (name == "lora" && value.is_array()) {
      for (const json& item : value) add_option(name, lora_word(item), options);
    } else if (name == "noise" && (value == "torch" || value == "torch_tokens")) {
      add_option("noise-kind", value.get<std::string>(), options);
    } else if (value.is_boolean()) {
      const bool toggle = std::find(std::begin(kToggles), std::end(kToggles), name) != std::end(kToggles);
      if (value.get<bool>()) options.push_back("--" + name);
      if (!value.get<bool>() && toggle) options.push_back("--no-" + name);
    } else if (name == "upscaler" && value.is_array()) {
      for (const json& item : value) add_option(name, scalar_word(item, key), options);
    } else if (name.ends_with("skip-blocks") && value.is_array()) {
      std::string bins;
      for (const json& bin : value) {
        if (&bin != &value.front()) bins += ";";
        for (const json& block : bin) bins += (bins.empty() || bins.back() == ';' ? "" : ",") + scalar_word(block, key);
      }
      if (!bins.empty()) add_option(name, bins, options);
    } else if (value.is_array()) {
      std::string list;
      for (const json& item : value) list += (list.empty() ? "" : name == "prompt-embeds" ? " | " : ",") + scalar_word(item, key);
      add_option(name, list, options);
    } else {
      add_option(name, scalar_word(value, key), options);
    }
  }
  return options;
}

/// "a | b" -> "a", "b"
std::vector<std::string> split_at_bars(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, '|');) {
    const size_t first = part.find_first_not_of(" \t"), last = part.find_last_not_of(" \t");
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
  }
  return parts;
}

/// Every file or folder that settings of a run name, with the key it stands under.
std::vector<std::pair<std::string, std::string>> paths_in(const json& settings) {
  std::vector<std::pair<std::string, std::string>> paths;
  for (const char* key : {"text_encoder", "tokenizer", "vae", "transformer", "upscaler", "input_video", "mask", "control", "conditions", "loras",
                          "prompt_embeds", "negative_prompt_embeds", "noise"}) {
    if (!settings.contains(key)) continue;
    const json& value = settings[key];
    const std::string name = key;
    for (const json& item : value.is_array() ? value : json::array({value})) {
      const json& path = item.is_object() ? item.value("path", json()) : item;
      if (!path.is_string() || (name == "noise" && (path == "torch" || path == "torch_tokens"))) continue;
      const bool plural = name == "conditions" || name == "loras";
      const std::string shown = plural ? name.substr(0, name.size() - 1) : name;
      if (name == "prompt_embeds" && settings.contains("window_frames")) {  // one a window
        for (const std::string& file : split_at_bars(path.get<std::string>())) paths.emplace_back(shown, file);
      } else {
        paths.emplace_back(shown, path.get<std::string>());
      }
    }
  }
  return paths;
}

/// Frames may lie in a sequence, whose name is a pattern.
bool is_there(const std::string& path) { return path.find('%') != std::string::npos || std::filesystem::exists(path); }

}  // namespace

std::vector<std::string> read_request_file(const std::string& path, const std::vector<std::string>& words) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  const bool empty = file && file.peek() == std::ifstream::traits_type::eof() && !file.bad();
  if (!file || (!empty && !(content << file.rdbuf())))
    throw ltxv::error(LTXV_IO, "--request: cannot read '" + path + "': " + std::strerror(errno));
  const json request = json::parse(content.str(), nullptr, /*allow_exceptions=*/false);
  if (!request.is_object()) throw ltxv::error(LTXV_IO, "--request: '" + path + "' is not a JSON object");
  return words_of(request, words);
}

std::vector<std::string> read_settings(const std::string& path, AnyVersion any_version) {
  const json settings = json::parse(ltxv::read_metadata(path), nullptr, /*allow_exceptions=*/false);
  const auto refuse = [&](const std::string& why) { throw ltxv::error(LTXV_IO, path + ": " + why); };
  const std::string version = settings.value("ltxv_version", json("")).dump(), own = json(ltxv::version()).dump();
  if (version != own && any_version == AnyVersion::no)
    refuse("made by ltxv " + version + ", this is " + own + ", which may make another video of it; --any-version tries");
  // The file may come from anywhere: it says what is read, never what is written.
  for (const auto& [key, value] : settings.items())
    if (key.starts_with("save") || key.starts_with("output")) refuse("its settings hold '" + key + "', which no run stores");
  for (const auto& [key, named] : paths_in(settings))
    if (!is_there(named)) refuse("the " + key + " it was made with is not there: " + named);
  if (const json model = settings.value("model", json()); model.is_string()) {
    const auto name = model.get<std::string>();
    if (name.find('/') != std::string::npos && !is_there(name)) refuse("the model it was made with is not there: " + name);
  }
  return words_of(settings, {});
}

}  // namespace cli
