#include "pipeline/model_spec.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "diffusion/schedule.h"
#include "pipeline/file_kind.h"
#include "pipeline/part_spec.h"
#include "pipeline/release.h"
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

// Name and presets of a model made for this library.
void apply_own_description(ModelSpec& spec, const std::string& model) {
  const auto content = own_description(model);
  if (content.empty()) return;
  const auto where = text(model, ": ltxv");
  ConfigObject object(content, where);
  spec.name = object.string("name", spec.name);
  object.ignore("release");
  if (object.has("preset")) {
    object.ignore("preset");
    spec.presets = {preset_from_json(content.at("preset"), where, {})};
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

// Beside the text encoder or the checkpoint, as a folder or as the file itself; or where it would be looked for first.
std::string tokenizer_beside(const std::string& text_encoder, const std::string& model) {
  const fs::path first = fs::path(text_encoder).parent_path() / "tokenizer";
  for (const fs::path& place : {first, fs::path(text_encoder).parent_path() / "spiece.model", fs::path(text_encoder) / "spiece.model",
                                fs::path(model).parent_path() / "spiece.model"})
    if (fs::exists(place)) return place.string();
  return first.string();
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
    spec.text_files.names = t5_names();
  }
  LTXV_REQUIRE(BadWeights, spec.transformer.caption_channels == spec.text.width, spec.transformer_files.path,
               ": a transformer of caption width ", spec.transformer.caption_channels, " does not fit the text encoder's ",
               spec.text.width, " (", path, ")");

  auto tokenizer = find_text_part(parts.tokenizer, parts.model, "tokenizer");
  if (tokenizer.empty()) tokenizer = tokenizer_beside(path, parts.model);
  spec.tokenizer_path = fs::is_directory(tokenizer) ? (fs::path(tokenizer) / "spiece.model").string() : tokenizer;
  LTXV_REQUIRE(IoError, fs::is_regular_file(spec.tokenizer_path), spec.tokenizer_path, ": no such file; --tokenizer names another");
}

// The schedule the model states, if it does, and the noise levels a distilled one was trained for.
struct StatedSampling {
  std::optional<ScheduleSpec> schedule;
  std::vector<double> sigmas;
};

StatedSampling stated_sampling(const std::string& model, std::initializer_list<const Place*> places) {
  StatedSampling out;
  if (fs::is_directory(model)) {
    if (pipeline_class(model) == kConditionPipeline) {
      out.schedule.emplace().kind = ScheduleSpec::Kind::linear_quadratic;
    } else {
      const auto path = (fs::path(model) / "scheduler" / "scheduler_config.json").string();
      out.schedule = schedule_from_diffusers(read_json_file(path), path);
    }
  }
  for (const Place* place : places) {
    const json config = place->embedded();
    if (!out.schedule && config.contains("scheduler"))
      out.schedule = schedule_from_original(config.at("scheduler"), place->path + ": scheduler");
    const auto list = config.find("allowed_inference_steps");
    if (!out.sigmas.empty() || list == config.end() || !list->is_array()) continue;
    for (const auto& sigma : *list) out.sigmas.push_back(sigma.is_number() ? sigma.get<double>() : -1);
    check_sigmas(out.sigmas);
  }
  return out;
}

// A checkpoint's own list wins over what is known of its release, unless it is the same one rounded: files hold four digits.
void apply_stated_sigmas(Preset& preset, const std::vector<double>& stated) {
  const bool rounded = std::equal(stated.begin(), stated.end(), preset.sigmas.begin(), preset.sigmas.end(),
                                  [](double a, double b) { return std::abs(a - b) < 1e-4; });
  if (rounded) return;
  if (preset.sigmas.empty()) {  // a release of another kind: models that come with a list need no guidance
    preset.pass = {};
    preset.guidance_scale = 1;
    preset.guidance_rescale = 0;
  }
  preset.sigmas = stated;
}

// A release describes files of its own size; another one needs a description of its own.
void require_fit(const TensorSource& file, const KeyMap& names, const char* tensor, int64_t axis, int64_t size, const std::string& release) {
  for (const TensorEntry& entry : file.entries()) {
    if (names.apply(entry.name) != tensor) continue;
    LTXV_REQUIRE(Unsupported, static_cast<int64_t>(entry.shape.size()) > axis && entry.shape[axis] == size, file.path(), ": tensor \"",
                 entry.name, "\" has ", entry.shape.empty() ? 0 : entry.shape[0], " rows where release ", release, " has ", size,
                 ", and the file has no description of its own; --release takes another name, or a .json file");
    return;
  }
  throw BadWeights(text(file.path(), ": tensor \"", tensor, "\" is missing"));
}

void read_components(ModelSpec& spec, const ModelParts& parts) {
  const std::string& model = parts.model;
  const bool folder = fs::is_directory(model);
  if (folder) pipeline_class(model);  // refuses other families before anything is missed
  const Place transformer(folder || !parts.transformer.empty() ? part_path(parts.transformer, model, "transformer") : model);
  const Place vae(folder || !parts.vae.empty() ? part_path(parts.vae, model, "vae") : model);
  if (transformer.file) refuse_other_families(*transformer.file);

  auto described = describe_transformer(transformer);
  auto vae_config = describe_vae(vae, spec);
  const auto sampling = stated_sampling(model, {&transformer, &vae});
  spec.transformer_files = {transformer.path, transformer_names(transformer)};

  ReleaseFacts facts;
  facts.name = text(spec.name, " ", fs::path(transformer.path).stem().string());
  facts.distilled = !sampling.sigmas.empty() || facts.name.find("distilled") != std::string::npos;
  if (transformer.file) {
    read_transformer_facts(*transformer.file, spec.transformer_files.names, facts);
  } else {
    facts.transformer_width = described->config.width();
    facts.layer_count = described->config.layer_count;
  }
  // A transformer given apart without a description is usually one of the model's own shape, with other weights.
  if (!described && !parts.transformer.empty() && parts.release.empty()) {
    const auto own = describe_transformer(Place(folder ? part_path("", model, "transformer") : model));
    if (own && own->config.width() == facts.transformer_width && own->config.layer_count == facts.layer_count) described = own;
  }
  if (vae.file) read_vae_facts(*vae.file, spec, facts);
  if (vae_config) read_vae_facts(*vae_config, facts);

  const json release = parts.release.empty() ? release_matching(facts, transformer.path) : release_named(parts.release);
  const auto name = release.value("name", "");
  const auto from_release = [&](const char* part) {
    LTXV_REQUIRE(Unsupported, release.contains(part), transformer.path, ": has no description of its own, and release ", name, " has no \"", part,
                 "\"; --release takes another name, or a .json file");
    return release.at(part);
  };
  if (!described && parts.release.empty()) {
    spec.remarks.push_back(text(transformer.path, ": does not describe itself; by names and shapes it is taken for ", name,
                                " (--release names another)"));
  }
  if (transformer.file && is_fp8(*transformer.file) && release.contains("fp8_remark"))
    spec.remarks.push_back(text(transformer.path, ": ", release.at("fp8_remark").get<std::string>()));
  if (!described) {
    described.emplace().config =
        transformer_config_from_original(from_release("transformer"), name + ": transformer", &described->states_causal);
    require_fit(*transformer.file, spec.transformer_files.names, "patchify_proj.weight", 0, described->config.width(), name);
    LTXV_REQUIRE(Unsupported, facts.layer_count == described->config.layer_count, transformer.path, ": has ", facts.layer_count,
                 " blocks where release ", name, " has ", described->config.layer_count);
  }
  if (!vae_config) {
    vae_config = vae_config_from_original(from_release("vae"), name + ": vae");
    require_fit(*vae.file, spec.vae_decoder_names, "decoder.conv_in.conv.weight", 0, vae_config->decoder_width, name);
  }
  spec.transformer = described->config;
  spec.vae = *vae_config;
  spec.schedule = sampling.schedule ? *sampling.schedule : schedule_from_original(from_release("scheduler"), name + ": scheduler");
  apply_release(release, spec, described->states_causal);
  if (!sampling.sigmas.empty()) apply_stated_sigmas(spec.presets.front(), sampling.sigmas);
}

std::string name_of(const std::string& model) {
  if (!fs::is_directory(model)) return fs::path(model).stem().string();
  const auto name = fs::path(model).lexically_normal().filename().string();
  return name.empty() || name == "." ? fs::absolute(model).parent_path().filename().string() : name;
}

}  // namespace

json own_description(const std::string& model) {
  if (fs::is_directory(model)) {
    const auto path = (fs::path(model) / "ltxv.json").string();
    return fs::exists(path) ? read_json_file(path) : json::object();
  }
  const auto file = open_tensors(model);
  const auto entry = file->metadata().find("ltxv");
  if (entry == file->metadata().end()) return json::object();
  auto own = json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  LTXV_REQUIRE(BadWeights, own.is_object(), model, ": the \"ltxv\" in its metadata is not a JSON object");
  return own;
}

ModelSpec load_model_spec(const ModelParts& parts) {
  LTXV_REQUIRE(IoError, fs::exists(parts.model), parts.model, ": no such file or folder");
  ModelSpec spec;
  spec.name = name_of(parts.model);
  ModelParts with_release = parts;
  // A part given apart may be of another release than the model says of itself.
  if (parts.release.empty() && parts.transformer.empty() && parts.vae.empty()) {
    const auto own = own_description(parts.model);
    if (own.contains("release") && own.at("release").is_string()) with_release.release = own.at("release").get<std::string>();
  }
  read_components(spec, with_release);
  apply_own_description(spec, parts.model);
  LTXV_REQUIRE(BadWeights, spec.transformer.in_channels == spec.vae.latent_channels, spec.transformer_files.path, ": a transformer of ",
               spec.transformer.in_channels, " latent channels does not fit the VAE's ", spec.vae.latent_channels, " (",
               spec.vae_files.path, ")");
  read_text_parts(spec, parts);
  for (const std::string& path : parts.upscalers) {
    spec.upsamplers.push_back(load_upsampler_spec(path));
    LTXV_REQUIRE(BadWeights, spec.upsamplers.back().config.channels == spec.vae.latent_channels, path, ": an upsampler of ",
                 spec.upsamplers.back().config.channels, " latent channels does not fit the VAE's ", spec.vae.latent_channels, " (",
                 spec.vae_files.path, ")");
  }
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
