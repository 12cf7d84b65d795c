#include "pipeline/request_reader.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace ltxv {
namespace {

using nlohmann::json;

// Facts about a run and settings of its engine.
constexpr std::array kNotOfARequest = {"ltxv_version", "libtorch",     "cpu_capability", "device_name", "model",    "text_encoder",
                                       "tokenizer",    "vae",          "transformer",    "release",     "given_release", "device",
                                       "dtype",        "quantization", "attention",    "threads",        "computed",       "pass2_computed", "upscaler"};

[[noreturn]] void refuse(const std::string& key, const char* wanted, const json& found) {
  throw InvalidArgument(text("request: \"", key, "\" must be ", wanted, ", found ",
                             found.dump(-1, ' ', false, json::error_handler_t::replace)));
}

double number(const std::string& key, const json& value) {
  if (!value.is_number()) refuse(key, "a number", value);
  return value.get<double>();
}

int64_t whole(const std::string& key, const json& value) {
  if (!value.is_number_integer()) refuse(key, "a whole number", value);
  return value.get<int64_t>();
}

std::string word(const std::string& key, const json& value) {
  if (!value.is_string()) refuse(key, "a string", value);
  auto said = value.get<std::string>();
  if (said.find('\0') != std::string::npos) refuse(key, "a string without a zero byte", value);
  return said;
}

bool yes(const std::string& key, const json& value) {
  if (!value.is_boolean()) refuse(key, "true or false", value);
  return value.get<bool>();
}

std::vector<double> numbers(const std::string& key, const json& value) {
  if (value.is_number()) return {value.get<double>()};
  if (!value.is_array()) refuse(key, "a number or a list of numbers", value);
  std::vector<double> list;
  for (const json& item : value) list.push_back(number(key, item));
  return list;
}

std::vector<std::vector<int64_t>> block_lists(const std::string& key, const json& value) {
  constexpr const char* kWanted = "a list of lists of whole numbers";
  if (!value.is_array()) refuse(key, kWanted, value);
  std::vector<std::vector<int64_t>> bins;
  for (const json& bin : value) {
    if (!bin.is_array()) refuse(key, kWanted, value);
    bins.emplace_back();
    for (const json& block : bin) bins.back().push_back(whole(key, block));
  }
  return bins;
}

// Objects with a path, and nothing that is not known.
void check_item(const std::string& key, const json& item, std::initializer_list<const char*> allowed) {
  std::string wanted = "a list of objects with";
  for (const char* name : allowed) wanted.append(" ").append(name);
  bool good = item.is_object() && item.contains("path");
  if (good)
    for (const auto& [name, value] : item.items())
      good = good && std::any_of(allowed.begin(), allowed.end(), [&name = name](const char* known) { return name == known; });
  if (!good) refuse(key, wanted.c_str(), item);
}

std::vector<ConditionItem> conditions(const std::string& key, const json& value) {
  if (!value.is_array()) refuse(key, "a list of objects with path, frame, strength", value);
  std::vector<ConditionItem> items;
  for (const json& item : value) {
    check_item(key, item, {"path", "frame", "strength"});
    items.push_back({.path = word(key, item["path"]),
                     .frame_index = whole(key, item.value("frame", json(0))),
                     .strength = number(key, item.value("strength", json(1.0)))});
  }
  return items;
}

std::vector<LoraItem> loras(const std::string& key, const json& value) {
  if (!value.is_array()) refuse(key, "a list of objects with path, strength", value);
  std::vector<LoraItem> items;
  for (const json& item : value) {
    check_item(key, item, {"path", "strength"});
    items.push_back({word(key, item["path"]), number(key, item.value("strength", json(1.0)))});
  }
  return items;
}

using Read = std::function<void(const std::string& key, const json& value)>;
using Table = std::map<std::string, Read>;

// A setter for a field that the caller left as a new request has it. `as` turns the value into the field's kind.
template <class T, class As>
Read unset(T& field, As as) {
  if (!(field == T{})) return [as](const std::string& key, const json& value) { as(key, value); };  // looked at all the same
  return [&field, as](const std::string& key, const json& value) { field = as(key, value); };
}

template <class T>
Read one_of(T& field, std::vector<std::pair<std::string, T>> words) {
  return [&field, words = std::move(words)](const std::string& key, const json& value) {
    std::string wanted = "one of";
    for (const auto& [name, meaning] : words) {
      if (value == name) {
        if (field == T{}) field = meaning;
        return;
      }
      wanted.append(" ").append(name);
    }
    refuse(key, wanted.c_str(), value);
  };
}

// What both passes have under the same names, which begin with `prefix`: fields of Request or of SecondPass.
template <class Pass>
void add_pass(Table& table, const std::string& prefix, Pass& p) {
  table[prefix + "guidance_timesteps"] = unset(p.guidance_timesteps, numbers);
  table[prefix + "guidance_scale"] = unset(p.guidance_scales, numbers);
  table[prefix + "guidance_rescale"] = unset(p.guidance_rescales, numbers);
  table[prefix + "stg_scale"] = unset(p.stg_scales, numbers);
  table[prefix + "stg_mode"] = unset(p.stg_mode, word);
  table[prefix + "skip_blocks"] = unset(p.skip_blocks, block_lists);
  table[prefix + "cfg_star"] = unset(p.cfg_star, yes);
  table[prefix + "stochastic"] = unset(p.stochastic, yes);
  table[prefix + "skip_first_steps"] = unset(p.skip_first_steps, whole);
  table[prefix + "skip_last_steps"] = unset(p.skip_last_steps, whole);
}

Read noise(Request& r) {
  return [&r](const std::string& key, const json& value) {
    const std::string said = word(key, value);
    if (said == "torch") return;
    if (said == "torch_tokens") {
      if (r.noise_path.empty()) r.noise_kind = NoiseKind::torch_tokens;
    } else if (r.noise_path.empty()) {
      r.noise_path = said;
    }
  };
}

void add_steps(Table& table, const std::string& prefix, int64_t& step_count, std::vector<double>& sigmas, const json& object) {
  const bool said = step_count != 0 || !sigmas.empty();
  const bool levels = object.contains(prefix + "sigmas");
  table[prefix + "sigmas"] = said ? Read(numbers) : unset(sigmas, numbers);
  table[prefix + "num_inference_steps"] = said || levels ? Read(whole) : unset(step_count, whole);
}

Table table_for(Request& r, const json& object) {
  Table t;
  t["prompt"] = unset(r.prompt, word);
  t["negative_prompt"] = unset(r.negative_prompt, word);
  t["prompt_embeds"] = unset(r.prompt_embeds_path, word);
  t["negative_prompt_embeds"] = unset(r.negative_prompt_embeds_path, word);
  t["preset"] = unset(r.preset, word);
  t["seed"] = unset(r.seed, [](const std::string& key, const json& value) {
    if (!value.is_number_unsigned()) refuse(key, "a whole number from 0 on", value);
    return value.get<uint64_t>();
  });
  t["noise"] = noise(r);
  t["noise_kind"] = one_of<NoiseKind>(r.noise_kind, {{"torch", NoiseKind::torch}, {"torch_tokens", NoiseKind::torch_tokens}});
  t["width"] = unset(r.width, whole);
  t["height"] = unset(r.height, whole);
  const bool length_said = r.frame_count != 0 || r.seconds != 0;
  t["num_frames"] = length_said ? Read(whole) : unset(r.frame_count, whole);
  t["seconds"] = length_said ? Read(number) : unset(r.seconds, number);
  t["frame_rate"] = unset(r.frames_per_second, number);
  add_steps(t, "", r.step_count, r.sigmas, object);
  add_pass(t, "", r);
  if (r.guidance_scale) t["guidance_scale"] = numbers;  // a single number that the caller set says as much as a list
  if (r.guidance_rescale) t["guidance_rescale"] = numbers;
  t["input_video"] = unset(r.input_video_path, word);
  t["strength"] = unset(r.strength, number);
  t["mask"] = unset(r.mask_path, word);
  t["mask_blend"] = unset(r.mask_blend, whole);
  t["outpaint"] = unset(r.outpaint, yes);
  t["composite"] = unset(r.composite, yes);
  t["window_frames"] = unset(r.window.frame_count, whole);
  t["window_overlap"] = unset(r.window.overlap, whole);
  t["window_strength"] = unset(r.window.overlap_strength, number);
  t["window_match"] = unset(r.window.match, number);
  t["window_eta"] = unset(r.window.eta, number);
  t["passes"] = unset(r.pass_count, whole);
  add_pass(t, "pass2_", r.second_pass);
  add_steps(t, "pass2_", r.second_pass.step_count, r.second_pass.sigmas, object);
  t["downscale"] = unset(r.second_pass.downscale, number);
  t["adain"] = unset(r.second_pass.adain, number);
  t["tone_map"] = unset(r.second_pass.tone_map, number);
  t["text_padding"] = one_of<TextPadding>(r.text_padding, {{"masked", TextPadding::masked}, {"attended", TextPadding::attended}});
  t["frame_positions"] = one_of<FramePositions>(
      r.frame_positions, {{"model", FramePositions::model}, {"causal", FramePositions::causal}, {"plain", FramePositions::plain}});
  t["max_text_tokens"] = unset(r.max_text_tokens, whole);
  if (r.conditions.empty()) {
    t["conditions"] = [&r](const std::string& key, const json& value) { r.conditions = conditions(key, value); };
  } else {
    t["conditions"] = conditions;
  }
  if (r.loras.empty()) {
    t["loras"] = [&r](const std::string& key, const json& value) { r.loras = loras(key, value); };
  } else {
    t["loras"] = loras;
  }
  t["control"] = unset(r.control_path, word);
  t["control_strength"] = [&r](const std::string& key, const json& value) {
    if (r.control_strength == 1) r.control_strength = number(key, value);
  };
  t["image_noise_scale"] = unset(r.image_noise_scale, number);
  t["image_prep"] = one_of<ImagePrep>(
      r.image_prep, {{"plain", ImagePrep::plain}, {"official", ImagePrep::official}, {"diffusers", ImagePrep::diffusers}});
  t["image_crf"] = unset(r.image_crf, whole);
  t["decode_timestep"] = unset(r.decode_timestep, number);
  t["decode_noise_scale"] = unset(r.decode_noise_scale, number);
  t["decode_noise_space"] =
      one_of<NoiseSpace>(r.decode_noise_space, {{"normalised", NoiseSpace::normalised}, {"raw", NoiseSpace::raw}});
  return t;
}

json parse_object(const std::string& object) {
  try {
    json parsed = json::parse(object);
    LTXV_CHECK(parsed.is_object(), "request: a JSON object is needed, this is a JSON ", parsed.type_name());
    return parsed;
  } catch (const json::parse_error& e) {
    throw InvalidArgument(text("request: not JSON, the error is at byte ", e.byte));
  }
}

}  // namespace

void fill_from_json(const std::string& object, Request& request) {
  const json parsed = parse_object(object);
  const Table table = table_for(request, parsed);
  for (const auto& [key, value] : parsed.items()) {
    if (std::find(kNotOfARequest.begin(), kNotOfARequest.end(), key) != kNotOfARequest.end()) continue;
    const auto known = table.find(key);
    LTXV_CHECK(known != table.end(), "request: \"", key, "\" is not a key of a request");
    known->second(key, value);
  }
}

}  // namespace ltxv
