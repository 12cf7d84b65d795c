#include "pipeline/release.h"

#include <algorithm>
#include <filesystem>

#include "pipeline/builtin_specs.h"
#include "pipeline/spec_files.h"
#include "vae/config_object.h"

namespace ltxv {
namespace {

using nlohmann::json;

// A spec on top of the one it names as its base.
json completed(const json& spec) {
  if (!spec.contains("base")) return spec;
  json out = release_named(spec.at("base").get<std::string>());
  json own = spec;
  own.erase("base");
  // Rules of a base are not those of what builds on it.
  out.erase("match");
  out.merge_patch(own);
  return out;
}

bool matches(const json& rules, const ReleaseFacts& facts) {
  const auto holds = [&](const char* rule, const json& fact) { return !rules.contains(rule) || rules.at(rule) == fact; };
  return holds("transformer_width", facts.transformer_width) && holds("num_layers", facts.layer_count) &&
         holds("timestep_conditioning", facts.timestep_conditioning) &&
         holds("space_to_depth_encoder", facts.space_to_depth_encoder) && holds("distilled", facts.distilled) &&
         (!rules.contains("named") || facts.name.find(rules.at("named").get<std::string>()) != std::string::npos);
}

// The entry of a canonical name.
const TensorEntry* find(const TensorSource& file, const KeyMap& names, std::string_view wanted) {
  for (const TensorEntry& entry : file.entries())
    if (names.apply(entry.name) == wanted) return &entry;
  return nullptr;
}

}  // namespace

void read_transformer_facts(const TensorSource& file, const KeyMap& names, ReleaseFacts& facts) {
  constexpr std::string_view kBlocks = "transformer_blocks.", kTable = ".scale_shift_table";
  const TensorEntry* input = find(file, names, "patchify_proj.weight");
  LTXV_REQUIRE(BadWeights, input && input->shape.size() == 2, file.path(), ": holds no LTX-Video transformer: tensor ",
               "\"patchify_proj.weight\" is missing");
  facts.transformer_width = input->shape[0];
  facts.layer_count = std::count_if(file.entries().begin(), file.entries().end(), [&](const TensorEntry& entry) {
    const auto name = names.apply(entry.name);
    return name.starts_with(kBlocks) && name.ends_with(kTable);
  });
}

void read_vae_facts(const TensorSource& file, const ModelSpec& spec, ReleaseFacts& facts) {
  LTXV_REQUIRE(BadWeights, find(file, spec.vae_decoder_names, "decoder.conv_in.conv.weight"), file.path(),
               ": holds no LTX-Video VAE; --vae names one");
  facts.timestep_conditioning = find(file, spec.vae_decoder_names, "decoder.last_scale_shift_table") != nullptr;
  // The strided encoders have a plain convolution here, those that fold space to depth one inside a block.
  facts.space_to_depth_encoder = find(file, spec.vae_encoder_names, "encoder.down_blocks.1.conv.conv.weight") != nullptr;
}

void read_vae_facts(const VaeConfig& vae, ReleaseFacts& facts) {
  facts.timestep_conditioning = vae.timestep_conditioning;
  facts.space_to_depth_encoder = std::any_of(vae.encoder_blocks.begin(), vae.encoder_blocks.end(),
                                             [](const VaeBlock& b) { return b.kind.ends_with("_res"); });
}

json release_named(const std::string& name_or_path) {
  std::string known;
  for (const auto content : builtin_spec_texts()) {
    const auto spec = json::parse(content);
    const auto name = spec.at("name").get<std::string>();
    if (name == name_or_path) return completed(spec);
    known += (known.empty() ? "" : ", ") + name;
  }
  LTXV_CHECK(name_or_path.ends_with(".json"), "release \"", name_or_path, "\" is not one of ", known, ", or a .json file");
  const json spec = read_json_file(name_or_path);
  for (const char* key : {"name", "presets"})
    LTXV_REQUIRE(BadWeights, spec.is_object() && (spec.contains(key) || spec.contains("base")), name_or_path, ": describes no release: \"",
                 key, "\" is missing");
  for (const char* key : {"name", "fp8_remark"})
    LTXV_REQUIRE(BadWeights, !spec.contains(key) || spec.at(key).is_string(), name_or_path, ": \"", key, "\" is not a string");
  LTXV_REQUIRE(BadWeights, !spec.contains("base") || spec.at("base").is_string(), name_or_path, ": \"base\" is not a name");
  LTXV_REQUIRE(BadWeights, !spec.contains("base") || !spec.at("base").get<std::string>().ends_with(".json"), name_or_path,
               ": \"base\" must be the name of a built-in release");
  return completed(spec);
}

json release_matching(const ReleaseFacts& facts, const std::string& where) {
  for (const auto content : builtin_spec_texts()) {
    const auto spec = json::parse(content);
    if (matches(spec.at("match"), facts)) return completed(spec);
  }
  throw Unsupported(text(where, ": this model belongs to no release this library knows"));
}

void apply_release(const json& release, ModelSpec& spec, bool states_causal) {
  const std::string where = release.value("name", "release");
  ConfigObject object(release, where);
  spec.release = object.string("name", "");
  const bool causal = object.boolean("causal_temporal_positioning", false);
  if (!states_causal) spec.transformer.causal_positions = causal;
  for (const char* key : {"match", "transformer", "vae", "scheduler", "presets", "fp8_remark"}) object.ignore(key);
  object.finish();
  LTXV_REQUIRE(BadWeights, release.contains("presets") && release.at("presets").is_object() && !release.at("presets").empty(), where,
               ": \"presets\" is not an object with at least one preset");
  for (const auto& [name, preset] : release.at("presets").items()) {
    Preset base;
    base.name = name;
    spec.presets.push_back(preset_from_json(preset, text(where, ": preset \"", name, "\""), base));
  }
  std::stable_partition(spec.presets.begin(), spec.presets.end(), [](const Preset& p) { return p.name == "default"; });
}

}  // namespace ltxv
