// Presets as JSON: a model's own, and those of the releases.
#include <nlohmann/json.hpp>

#include "diffusion/schedule.h"
#include "pipeline/spec_files.h"
#include "vae/config_object.h"

namespace ltxv {

using nlohmann::json;

namespace {

using Numbers = std::vector<double>;

double number_of(const json& value, const std::string& what) {
  LTXV_REQUIRE(BadWeights, value.is_number(), what, " holds something that is not a number");
  return value.get<double>();
}

// One number or a list of them.
Numbers numbers(ConfigObject& object, const char* key) {
  if (!object.has(key)) return {};
  if (object.peek(key).is_number()) return {object.number(key, 0)};
  Numbers list;
  for (const auto& value : object.array(key, 1000)) list.push_back(number_of(value, object.at(key)));
  return list;
}

Numbers sigmas(ConfigObject& object) {
  if (!object.has("sigmas")) return {};
  const Numbers list = numbers(object, "sigmas");
  check_sigmas(list);
  return list;
}

// [19], or one list a bin: [[], [11, 25], [28]].
std::vector<std::vector<int64_t>> block_lists(ConfigObject& object, const char* key) {
  if (!object.has(key)) return {};
  std::vector<std::vector<int64_t>> lists;
  const json& given = object.array(key, 1000);
  const auto block = [&](const json& value) { return checked_integer(value, object.at(key), -1024, 1024); };
  const bool nested = !given.empty() && given.front().is_array();
  if (!nested) lists.emplace_back();
  for (const json& entry : given) {
    if (!nested) {
      lists.back().push_back(block(entry));
      continue;
    }
    LTXV_REQUIRE(BadWeights, entry.is_array() && entry.size() <= 1024, object.at(key), " mixes numbers and lists");
    lists.emplace_back();
    for (const json& value : entry) lists.back().push_back(block(value));
  }
  return lists;
}

void read_pass(ConfigObject& object, PassSettings& p) {
  p.guidance_timesteps = numbers(object, "guidance_timesteps");
  p.guidance_scales = numbers(object, "guidance_scale");
  p.guidance_rescales = numbers(object, "guidance_rescale");
  p.stg_scales = numbers(object, "stg_scale");
  p.skip_blocks = block_lists(object, "skip_blocks");
  p.stg_mode = object.string("stg_mode", "");
  if (object.has("cfg_star")) p.cfg_star = object.boolean("cfg_star", false);
  if (object.has("stochastic")) p.stochastic = object.boolean("stochastic", false);
  if (object.has("skip_first_steps")) p.skip_first_steps = object.integer("skip_first_steps", 0, 0, 1000);
  if (object.has("skip_last_steps")) p.skip_last_steps = object.integer("skip_last_steps", 0, 0, 1000);
}

SecondPass second_pass_from_json(const json& value, const std::string& where) {
  ConfigObject object(value, where);
  SecondPass p;
  read_pass(object, p);
  p.step_count = object.integer("num_inference_steps", 0, 1, 10000);
  p.sigmas = sigmas(object);
  const auto number = [&](const char* key) { return object.has(key) ? std::optional(object.number(key, 0)) : std::nullopt; };
  p.downscale = number("downscale_factor");
  p.adain = number("adain_factor");
  p.tone_map = number("tone_map_compression_ratio");
  object.finish();
  return p;
}

}  // namespace

namespace {

using nlohmann::ordered_json;

void put(ordered_json& j, const char* key, const Numbers& list) {
  if (list.size() == 1) {
    j[key] = list[0];
  } else if (!list.empty()) {
    j[key] = list;
  }
}

// "11,25;22": what the option and the C field take.
std::string block_words(const std::vector<std::vector<int64_t>>& lists) {
  std::string out;
  for (size_t i = 0; i < lists.size(); ++i) {
    if (i > 0) out += ";";
    for (size_t k = 0; k < lists[i].size(); ++k) out += (k > 0 ? "," : "") + std::to_string(lists[i][k]);
  }
  return out;
}

void describe_pass(ordered_json& j, const PassSettings& p) {
  if (p.skip_first_steps.value_or(0) > 0) j["skip_first_steps"] = *p.skip_first_steps;
  if (p.skip_last_steps.value_or(0) > 0) j["skip_last_steps"] = *p.skip_last_steps;
  put(j, "guidance_timesteps", p.guidance_timesteps);
  put(j, "guidance_scale", p.guidance_scales);
  put(j, "guidance_rescale", p.guidance_rescales);
  put(j, "stg_scale", p.stg_scales);
  if (!p.stg_mode.empty()) j["stg_mode"] = p.stg_mode;
  if (!p.skip_blocks.empty()) j["skip_blocks"] = block_words(p.skip_blocks);
  if (p.cfg_star) j["cfg_star"] = *p.cfg_star;
  if (p.stochastic) j["stochastic"] = *p.stochastic;
}

ordered_json describe_second_pass(const SecondPass& s) {
  ordered_json j;
  if (s.downscale) j["downscale"] = *s.downscale;
  if (s.step_count > 0) j["num_inference_steps"] = s.step_count;
  put(j, "sigmas", s.sigmas);
  describe_pass(j, s);
  if (s.adain) j["adain"] = *s.adain;
  if (s.tone_map) j["tone_map"] = *s.tone_map;
  return j;
}

ordered_json describe(const Preset& p) {
  ordered_json j = {{"width", p.width}, {"height", p.height}, {"num_frames", p.frame_count}, {"frame_rate", p.frames_per_second}};
  j["num_inference_steps"] = p.sigmas.empty() ? p.step_count : static_cast<int64_t>(p.sigmas.size());
  put(j, "sigmas", p.sigmas);
  j["guidance_scale"] = p.guidance_scale;
  describe_pass(j, p.pass);
  j["passes"] = p.second_pass ? 2 : 1;
  if (!p.second_pass) return j;
  j["needs"] = p.second_pass->downscale.value_or(1) < 1 ? "a spatial upscaler" : "an upscaler";
  j["second_pass"] = describe_second_pass(*p.second_pass);
  return j;
}

}  // namespace

ordered_json describe_presets(const ModelSpec& spec) {
  ordered_json j = ordered_json::object();
  for (const Preset& p : spec.presets) j[p.name] = describe(p);
  return j;
}

Preset preset_from_json(const json& value, const std::string& where, Preset base) {
  ConfigObject object(value, where);
  Preset p = std::move(base);
  p.name = object.string("name", p.name);
  p.width = object.integer("width", p.width, 1, 1 << 16);
  p.height = object.integer("height", p.height, 1, 1 << 16);
  p.frame_count = object.integer("num_frames", p.frame_count, 1, 1 << 20);
  p.frames_per_second = object.number("frame_rate", p.frames_per_second);
  p.step_count = object.integer("num_inference_steps", p.step_count, 1, 10000);
  read_pass(object, p.pass);
  if (p.pass.guidance_scales.size() == 1) p.guidance_scale = p.pass.guidance_scales[0];
  if (p.pass.guidance_rescales.size() == 1) p.guidance_rescale = p.pass.guidance_rescales[0];
  p.image_noise_scale = object.number("image_cond_noise_scale", p.image_noise_scale);
  p.decode_timestep = object.number("decode_timestep", p.decode_timestep);
  p.decode_noise_scale = object.number("decode_noise_scale", p.decode_noise_scale);
  p.negative_prompt = object.string("negative_prompt", p.negative_prompt);
  p.max_text_tokens = object.integer("max_text_tokens", p.max_text_tokens, 1, 4096);
  p.seed = static_cast<uint64_t>(object.integer("seed", static_cast<int64_t>(p.seed), 0, INT64_MAX));
  if (object.has("sigmas")) p.sigmas = sigmas(object);
  if (object.has("second_pass")) p.second_pass = second_pass_from_json(object.peek("second_pass"), where + ": second_pass");
  object.finish();
  LTXV_REQUIRE(BadWeights, p.frames_per_second > 0, where, ": frame_rate ", p.frames_per_second, " is not positive");
  return p;
}

}  // namespace ltxv
