#include "pipeline/model_spec.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "pipeline/spec_files.h"
#include "vae/config_object.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// diffusers pipelines that run this family. Only the condition pipeline makes its own schedule; the others ask the scheduler.
constexpr const char* kConditionPipeline = "LTXConditionPipeline";
constexpr const char* kPipelines[] = {"LTXPipeline", "LTXImageToVideoPipeline", kConditionPipeline, "LTXI2VLongMultiPromptPipeline"};

std::string pipeline_class(const std::string& model) {
  const auto path = (fs::path(model) / "model_index.json").string();
  const auto content = read_json_file(path);
  ConfigObject index(content, path);
  const auto name = index.string("_class_name", "");
  LTXV_REQUIRE(Unsupported, name.rfind("LTX2", 0) != 0, path, ": ", name, " is an LTX-2 model; LTX-Video 0.9.x is supported");
  for (const char* known : kPipelines)
    if (name == known) return name;
  throw Unsupported(text(path, ": pipeline \"", name, "\" is not LTX-Video"));
}

// The part given apart, or the model's own folder for it.
std::string part_path(const std::string& apart, const std::string& model, const char* folder) {
  const auto path = apart.empty() ? (fs::path(model) / folder).string() : apart;
  LTXV_REQUIRE(IoError, fs::exists(path), path, ": no such file or folder",
               apart.empty() ? text(" (the model's ", folder, " is missing)") : "");
  return path;
}

json part_config(const std::string& folder, std::string* where) {
  LTXV_REQUIRE(Unsupported, fs::is_directory(folder), folder, ": a component is given as a folder with config.json and weights");
  *where = (fs::path(folder) / "config.json").string();
  return read_json_file(*where);
}

// ltxv.json beside model_index.json: name and presets of a model made for this library.
void apply_own_description(ModelSpec& spec, const std::string& model) {
  const auto path = (fs::path(model) / "ltxv.json").string();
  if (!fs::exists(path)) return;
  const auto content = read_json_file(path);
  ConfigObject object(content, path);
  spec.name = object.string("name", spec.name);
  if (object.has("preset")) {
    object.ignore("preset");
    spec.presets = {preset_from_json(content.at("preset"), path, {})};
  }
  object.finish();
}

// Where the text encoder or tokenizer of a checkpoint is: given apart, in the model's folder, or in a folder beside the file. Empty
// when there is none: such a model still encodes and decodes, and generates from embeddings.
std::string find_text_part(const std::string& apart, const std::string& model, const char* folder) {
  if (!apart.empty() || fs::is_directory(model)) return part_path(apart, model, folder);
  const auto beside = fs::path(model).parent_path() / folder;
  return fs::exists(beside) ? beside.string() : "";
}

void read_text_parts(ModelSpec& spec, const ModelParts& parts) {
  const auto path = find_text_part(parts.text_encoder, parts.model, "text_encoder");
  if (path.empty()) return;
  spec.text_files.path = path;
  if (fs::is_directory(path)) {
    std::string where;
    const auto config = part_config(path, &where);
    spec.text = t5_config_from_transformers(config, where);
  } else {
    spec.text = t5_config_from_tensors(*open_tensors(path));
  }
  LTXV_REQUIRE(BadWeights, spec.transformer.caption_channels == spec.text.width, spec.transformer_files.path,
               ": a transformer of caption width ", spec.transformer.caption_channels, " does not fit the text encoder's ",
               spec.text.width, " (", path, ")");

  auto tokenizer = find_text_part(parts.tokenizer, parts.model, "tokenizer");
  if (tokenizer.empty()) tokenizer = (fs::path(path).parent_path() / "tokenizer").string();
  spec.tokenizer_path = fs::is_directory(tokenizer) ? (fs::path(tokenizer) / "spiece.model").string() : tokenizer;
  LTXV_REQUIRE(IoError, fs::is_regular_file(spec.tokenizer_path), spec.tokenizer_path, ": no such file; --tokenizer names another");
}

ModelSpec load_folder_spec(const ModelParts& parts) {
  const std::string& model = parts.model;
  ModelSpec spec;
  spec.name = fs::path(model).lexically_normal().filename().string();
  if (spec.name.empty() || spec.name == ".") spec.name = fs::absolute(model).parent_path().filename().string();
  const auto pipeline = pipeline_class(model);

  std::string where;
  bool states_causal = false;
  spec.transformer_files = {part_path(parts.transformer, model, "transformer"), diffusers_transformer_names()};
  const auto transformer_json = part_config(spec.transformer_files.path, &where);
  spec.transformer = transformer_config_from_diffusers(transformer_json, where, &states_causal);

  spec.vae_files.path = part_path(parts.vae, model, "vae");
  const auto vae_json = part_config(spec.vae_files.path, &where);
  spec.vae = vae_config_from_diffusers(vae_json, where).config;
  spec.vae_encoder_names = vae_config_from_diffusers(vae_json, where, VaeParts::encoder).names;
  spec.vae_decoder_names = vae_config_from_diffusers(vae_json, where, VaeParts::decoder).names;

  if (pipeline == kConditionPipeline) {
    spec.schedule.kind = ScheduleSpec::Kind::linear_quadratic;
  } else {
    const auto path = (fs::path(model) / "scheduler" / "scheduler_config.json").string();
    spec.schedule = schedule_from_diffusers(read_json_file(path), path);
  }
  apply_builtin_spec(spec, states_causal);
  apply_own_description(spec, model);
  return spec;
}

}  // namespace

ModelSpec load_model_spec(const ModelParts& parts) {
  LTXV_REQUIRE(IoError, fs::exists(parts.model), parts.model, ": no such file or folder");
  LTXV_REQUIRE(Unsupported, fs::is_directory(parts.model) || (parts.transformer.empty() && parts.vae.empty()), parts.model,
               ": --transformer and --vae replace parts of a diffusers-layout folder, not of a single file");
  ModelSpec spec = fs::is_directory(parts.model) ? load_folder_spec(parts) : load_single_file_spec(parts);
  LTXV_REQUIRE(BadWeights, spec.transformer.in_channels == spec.vae.latent_channels, spec.transformer_files.path, ": a transformer of ",
               spec.transformer.in_channels, " latent channels does not fit the VAE's ", spec.vae.latent_channels, " (",
               spec.vae_files.path, ")");
  read_text_parts(spec, parts);
  return spec;
}

// ModelSpec has a member named text, hence the qualified calls.
const Preset& ModelSpec::preset(const std::string& wanted) const {
  if (wanted.empty()) return presets.front();
  std::string known;
  for (const Preset& p : presets) {
    if (p.name == wanted) return p;
    known += ltxv::text(known.empty() ? "" : ", ", p.name);
  }
  throw InvalidArgument(ltxv::text("preset \"", wanted, "\" is not one of this model's (", known, ")"));
}

}  // namespace ltxv
