#include "pipeline/part_spec.h"

#include <filesystem>

#include "pipeline/spec_files.h"
#include "vae/vae_config_json.h"

namespace ltxv {

namespace fs = std::filesystem;
using nlohmann::json;

json part_config(const std::string& folder, std::string* where) {
  LTXV_REQUIRE(Unsupported, fs::is_directory(folder), folder, ": a component is given as a folder with config.json and weights");
  *where = (fs::path(folder) / "config.json").string();
  return read_json_file(*where);
}

Place::Place(std::string where) : path(std::move(where)), file(fs::is_directory(path) ? nullptr : open_tensors(path)) {}

json Place::embedded() const { return file ? embedded_config(*file) : json::object(); }

bool Place::has_diffusers_names() const { return !file || file->find("proj_in.weight") || file->find("latents_mean"); }

std::optional<json> Place::diffusers_config(std::string* where) const {
  if (!file) return part_config(path, where);
  *where = (fs::path(path).parent_path() / "config.json").string();
  return has_diffusers_names() && fs::exists(*where) ? std::optional(read_json_file(*where)) : std::nullopt;
}

std::optional<DescribedTransformer> describe_transformer(const Place& place) {
  DescribedTransformer out;
  std::string where;
  if (const json config = place.embedded(); config.contains("transformer")) {
    out.config = transformer_config_from_original(config.at("transformer"), place.path + ": transformer", &out.states_causal);
  } else if (const auto beside = place.diffusers_config(&where)) {
    out.config = transformer_config_from_diffusers(*beside, where, &out.states_causal);
  } else {
    return std::nullopt;
  }
  return out;
}

KeyMap transformer_names(const Place& place) {
  return place.has_diffusers_names() ? diffusers_transformer_names() : original_transformer_names();
}

std::optional<VaeConfig> describe_vae(const Place& place, ModelSpec& spec) {
  std::string where;
  spec.vae_files.path = place.path;
  if (const auto config = place.diffusers_config(&where)) {
    spec.vae_encoder_names = vae_config_from_diffusers(*config, where, VaeParts::encoder).names;
    spec.vae_decoder_names = vae_config_from_diffusers(*config, where, VaeParts::decoder).names;
    return vae_config_from_diffusers(*config, where).config;
  }
  LTXV_REQUIRE(Unsupported, !place.has_diffusers_names(), place.path,
               ": this VAE has the names of diffusers, which only the config.json of its folder explains; put that file beside it");
  spec.vae_encoder_names = original_vae_names(VaeParts::encoder);
  spec.vae_decoder_names = original_vae_names(VaeParts::decoder);
  const json config = place.embedded();
  return config.contains("vae") ? std::optional(vae_config_from_original(config.at("vae"), place.path + ": vae")) : std::nullopt;
}

}  // namespace ltxv
