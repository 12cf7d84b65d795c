// What a path is, from headers and descriptions alone.
#include <filesystem>

#include "pipeline/bundled.h"
#include "pipeline/doctor_parts.h"
#include "pipeline/part_spec.h"
#include "pipeline/spec_files.h"
#include "text/tokenizer.h"
#include "vae/vae_config_json.h"
#include "weights/file_bytes.h"
#include "weights/lora_file.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr const char* kComponents[] = {"transformer", "vae", "text_encoder", "tokenizer"};

const TensorEntry* find(const TensorSource& file, const KeyMap& names, std::string_view wanted) {
  for (const TensorEntry& entry : file.entries())
    if (names.apply(entry.name) == wanted) return &entry;
  return nullptr;
}

int64_t axis(const TensorEntry* entry, size_t index) { return entry && index < entry->shape.size() ? entry->shape[index] : 0; }

std::vector<float> numbers_of(const TensorEntry* entry, const std::shared_ptr<const TensorSource>& source) {
  if (!entry || is_block_type(entry->type) || entry->shape.size() != 1) return {};
  const at::Tensor values = to_tensor(*entry, source).to(at::kFloat).contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

void describe_tensors(Part& part) {
  uint64_t bytes = 0;
  int64_t parameters = 0;
  std::map<std::string, int64_t> types;
  for (const TensorEntry& entry : part.source->entries()) {
    int64_t elements = 1;
    for (const int64_t size : entry.shape) elements *= size;
    parameters += elements;
    bytes += entry.byte_count;
    types[std::string(stored_type_name(entry.type))] += elements;
  }
  part.about["tensors"] = part.source->entries().size();
  part.about["parameters"] = parameters;
  part.about["bytes"] = bytes;
  part.about["dtypes"] = types;
}

// A release by what one part shows; the other part may narrow it down.
std::string release_by(const ReleaseFacts& facts) {
  try {
    return release_matching(facts, "").value("name", "");
  } catch (const Error&) {
    return "";
  }
}

void describe_transformer_part(Part& part) {
  const Place place(part.path);
  part.transformer_names = transformer_names(place);
  const TensorEntry* const input = find(*part.source, part.transformer_names, "patchify_proj.weight");
  part.latent_channels = axis(input, 1);
  part.caption_width = axis(find(*part.source, part.transformer_names, "caption_projection.linear_1.weight"), 1);
  ReleaseFacts facts;
  facts.name = part.path;
  facts.distilled = facts.name.find("distilled") != std::string::npos || place.embedded().contains("allowed_inference_steps");
  read_transformer_facts(*part.source, part.transformer_names, facts);
  part.about["transformer"] = {{"width", facts.transformer_width},
                               {"blocks", facts.layer_count},
                               {"latent_channels", part.latent_channels},
                               {"caption_width", part.caption_width}};
  if (const auto described = describe_transformer(place)) {
    part.transformer = described->config;
  } else {
    // Both families of a size have the same transformer; which of them it is, the VAE tells.
    facts.space_to_depth_encoder = true;
    const auto name = release_by(facts);
    const auto release = name.empty() ? nlohmann::json() : release_named(name);
    bool states_causal = false;
    if (release.contains("transformer")) part.transformer = transformer_config_from_original(release.at("transformer"), name, &states_causal);
    part.about["described"] = false;
  }
  if (facts.transformer_width == 4096 && facts.layer_count == 48) part.about["size"] = "13B";
  if (facts.transformer_width == 2048 && facts.layer_count == 28) part.about["size"] = "2B";
}

void describe_vae_part(Part& part) {
  ModelSpec spec;
  auto config = describe_vae(Place(part.path), spec);
  part.vae_encoder_names = spec.vae_encoder_names;
  part.vae_decoder_names = spec.vae_decoder_names;
  ReleaseFacts facts;
  read_vae_facts(*part.source, spec, facts);
  if (config) read_vae_facts(*config, facts);
  const auto name = release_by(facts);
  if (!config && !name.empty()) config = vae_config_from_original(release_named(name).at("vae"), name);
  part.vae = config;
  part.latent_mean = numbers_of(find(*part.source, part.vae_decoder_names, "per_channel_statistics.mean-of-means"), part.source);
  part.latent_deviation = numbers_of(find(*part.source, part.vae_decoder_names, "per_channel_statistics.std-of-means"), part.source);
  part.about["vae"] = {{"latent_channels", part.latent_mean.size()}, {"generation", name}};
}

void describe_text_part(Part& part) {
  std::string where;
  if (fs::is_directory(part.path)) {
    part.text = t5_config_from_transformers(part_config(part.path, &where), where);
  } else {
    part.text = t5_config_from_tensors(*part.source);
    part.text_names = t5_names();
  }
  part.about["text_encoder"] = {{"width", part.text->width}, {"blocks", part.text->layer_count}, {"vocabulary", part.text->vocabulary}};
}

void describe_lora_part(Part& part) {
  const LoraFile file = read_lora(part.source);
  int64_t rank = 0, width = 0;
  for (const LoraModule& module : file.modules) {
    if (!module.down) continue;
    rank = std::max(rank, module.down->shape[0]);
    if (module.path.find("attn1.to_q") != std::string::npos || module.path.find("attn1_to_q") != std::string::npos)
      width = module.down->shape[1];
  }
  part.about["lora"] = {{"modules", file.modules.size()}, {"rank", rank}};
  if (width > 0) part.about["lora"]["transformer_width"] = width;
  if (file.reference_downscale != 1) part.about["lora"]["reference_downscale"] = file.reference_downscale;
}

void describe_upsampler_part(Part& part) {
  const UpsamplerPart loaded = load_upsampler_spec(part.path);
  part.upsampler = loaded.config;
  part.about["upsampler"] = {{"latent_channels", loaded.config.channels},
                             {"width", loaded.config.width},
                             {"spatial", loaded.config.spatial},
                             {"temporal", loaded.config.temporal}};
}

void describe(Part& part, Findings& findings) {
  describe_tensors(part);
  part.about["kind"] = kind_words(part.file_kind);
  try {
    switch (part.file_kind) {
      case FileKind::checkpoint:
        describe_transformer_part(part);
        describe_vae_part(part);
        break;
      case FileKind::transformer: describe_transformer_part(part); break;
      case FileKind::vae: describe_vae_part(part); break;
      case FileKind::text_encoder: describe_text_part(part); break;
      case FileKind::lora: describe_lora_part(part); break;
      case FileKind::upsampler: describe_upsampler_part(part); break;
      case FileKind::other_family: findings.problem(part.path, "belongs to LTX-2; LTX-Video 0.9.x is supported"); break;
      case FileKind::unknown: findings.problem(part.path, "holds tensors, but no part of an LTX-Video model that this library knows"); break;
      default: break;
    }
  } catch (const Error& error) {
    findings.problem(part.path, error.what());
  }
}

Part tokenizer_at(const std::string& path) {
  Part part;
  part.path = path;
  part.kind = Part::Kind::tokenizer;
  const auto tokenizer = Tokenizer::load(path);
  part.piece_count = tokenizer.piece_count();
  part.about = {{"path", path}, {"kind", "T5 tokenizer"}, {"pieces", part.piece_count}};
  return part;
}

bool is_tokenizer_file(const std::string& path) { return path.ends_with(".model"); }

// A component folder or a file.
Part component_at(const std::string& path) {
  const bool folder = fs::is_directory(path);
  if (folder && fs::exists(fs::path(path) / "spiece.model")) return tokenizer_at((fs::path(path) / "spiece.model").string());
  if (!folder && is_tokenizer_file(path)) return tokenizer_at(path);
  Part part;
  part.path = path;
  part.about["path"] = path;
  part.source = folder ? open_component_folder(path) : open_tensors(path);
  part.file_kind = kind_of(*part.source);
  return part;
}

void add_component(const std::string& path, bool inside_model, std::vector<Part>& parts, Findings& findings) {
  try {
    Part part = component_at(path);
    part.inside_model = inside_model;
    if (part.kind == Part::Kind::tensors) describe(part, findings);
    parts.push_back(std::move(part));
  } catch (const Error& error) {
    findings.problem(path, error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    findings.problem(path, error.code().message());
  }
}

}  // namespace

std::vector<Part> identify(const std::string& given, Findings& findings) {
  std::vector<Part> parts;
  std::string path = given;
  std::error_code unreadable;
  if (!fs::exists(path, unreadable)) {
    try {
      path = bundled_model_folder(given);
    } catch (const Error& error) {
      findings.problem(given, error.what());
      return parts;
    }
  }
  if (fs::path(path).filename() == "model_index.json") path = fs::path(path).parent_path().string();
  const fs::path folder(path);
  const bool upsampler_alone = fs::exists(folder / "latent_upsampler" / "config.json") && !fs::exists(folder / "transformer");
  if (upsampler_alone) {
    add_component((folder / "latent_upsampler").string(), false, parts, findings);
  } else if (fs::exists(folder / "model_index.json")) {
    Part model;
    model.path = path;
    model.kind = Part::Kind::model_folder;
    model.about = {{"path", path}, {"kind", "diffusers-layout model"}};
    parts.push_back(std::move(model));
    for (const char* component : kComponents) {
      if (fs::exists(folder / component)) {
        add_component((folder / component).string(), true, parts, findings);
      } else {
        findings.problem(path, text("the model's ", component, " is missing"));
      }
    }
  } else {
    add_component(path, false, parts, findings);
  }
  return parts;
}

}  // namespace ltxv
