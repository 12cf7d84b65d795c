// What a file or folder is, from its headers alone.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "media/video_reader.h"
#include "pipeline/engine.h"
#include "pipeline/file_kind.h"
#include "pipeline/part_spec.h"
#include "pipeline/spec_files.h"
#include "weights/tensor_source.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

// Folders of a complete diffusers-layout model, and the file that must lie in each.
constexpr std::pair<const char*, const char*> kModelFiles[] = {{"transformer", "config.json"},
                                                              {"vae", "config.json"},
                                                              {"text_encoder", "config.json"},
                                                              {"tokenizer", "spiece.model"},
                                                              {"scheduler", "scheduler_config.json"}};

// The release of a checkpoint, or what keeps it from being used.
void describe_release(const std::string& path, json& j) {
  try {
    const ModelSpec spec = load_model_spec({.model = path});
    j["release"] = spec.release;
    if (!spec.remarks.empty()) j["remarks"] = spec.remarks;
    j["presets"] = describe_presets(spec);
  } catch (const Error& error) {
    j["problem"] = error.what();
  }
}

// What an upsampler enlarges, or what keeps it from being used.
void describe_upsampler(const std::string& path, json& j) {
  try {
    const UpsamplerConfig config = load_upsampler_spec(path).config;
    j["enlarges"] = config.spatial ? (config.temporal ? "space and time" : "space") : "time";
    j["latent_channels"] = config.channels;
  } catch (const Error& error) {
    j["problem"] = error.what();
  }
}

// What a VAE alone is, or what keeps it from being used.
void describe_vae_file(const std::string& path, json& j) {
  try {
    ModelSpec spec;
    if (const auto config = describe_vae(Place(path), spec)) {
      j["latent_channels"] = config->latent_channels;
      j["compression"] = {{"spatial", config->compression.spatial}, {"temporal", config->compression.temporal}};
    }
  } catch (const Error& error) {
    j["problem"] = error.what();
  }
}

// What write_frames stored; null where there is none.
json settings_of(const TensorSource& source) {
  const auto at = source.metadata().find("ltxv");
  if (at == source.metadata().end()) return nullptr;
  return json::parse(at->second, nullptr, /*allow_exceptions=*/false);
}

json describe_tensors(const TensorSource& source) {
  json j;
  uint64_t bytes = 0;
  int64_t parameters = 0;
  std::map<std::string, int64_t> types;
  for (const TensorEntry& entry : source.entries()) {
    int64_t elements = 1;
    for (const int64_t axis : entry.shape) elements *= axis;
    parameters += elements;
    bytes += entry.byte_count;
    types[std::string(stored_type_name(entry.type))] += elements;
  }
  j["tensors"] = source.entries().size();
  j["parameters"] = parameters;
  j["bytes"] = bytes;
  j["dtypes"] = types;
  return j;
}

json describe_folder(const std::string& path) {
  json j;
  j["kind"] = fs::exists(fs::path(path) / "model_index.json") ? "diffusers-layout model" : "component folder";
  if (j["kind"] == "component folder") {
    const auto source = open_component_folder(path);
    j["kind"] = kind_words(kind_of(*source));
    j.update(describe_tensors(*source));
    if (kind_of(*source) == FileKind::upsampler) describe_upsampler(path, j);
    return j;
  }
  json missing = json::array();
  for (const auto& [folder, file] : kModelFiles)
    if (!fs::exists(fs::path(path) / folder / file)) missing.push_back(std::string(folder) + "/" + file);
  if (!missing.empty()) {
    j["missing"] = missing;
    return j;
  }
  j.update(json::parse(Engine::open({.model = path})->describe_json()));
  return j;
}

}  // namespace

std::string read_settings(const std::string& path) {
  json made;
  if (path.ends_with(".safetensors")) {
    made = settings_of(*open_tensors(path));
  } else if (const auto comment = media::read_metadata(path); !comment.empty()) {
    made = json::parse(comment, nullptr, /*allow_exceptions=*/false);
  }
  LTXV_REQUIRE(IoError, made.is_object() && made.contains("ltxv_version"), path, ": holds no settings of a run by ltxv");
  return made.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string inspect(const std::string& path) {
  json j;
  j["path"] = path;
  if (!fs::exists(path)) return inspect(bundled_model_folder(path));
  if (fs::is_directory(path)) {
    j.update(describe_folder(path));
  } else if (path.ends_with(".safetensors") || path.ends_with(".gguf") || path.ends_with(".json")) {
    const auto source = open_tensors(path);
    j["kind"] = kind_words(kind_of(*source));
    j.update(describe_tensors(*source));
    if (const json made = settings_of(*source); made.is_object()) {
      j["metadata"] = made;
    } else if (!source->metadata().empty()) {
      j["metadata"] = source->metadata();
    }
    if (kind_of(*source) == FileKind::checkpoint) describe_release(path, j);
    if (kind_of(*source) == FileKind::upsampler) describe_upsampler(path, j);
    if (kind_of(*source) == FileKind::vae) describe_vae_file(path, j);
  } else {
    media::ClipReader reader(path);
    const int64_t frames = reader.count_frames();
    const auto clip = reader.read(frames - 1, 1);
    j["kind"] = frames == 1 ? "image" : "video";
    j["frames"] = frames;
    j["width"] = clip.width;
    j["height"] = clip.height;
    j["frame_rate"] = clip.frames_per_second;
    const auto made = media::read_metadata(path);
    if (!made.empty()) j["metadata"] = json::parse(made, nullptr, /*allow_exceptions=*/false);
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ltxv
