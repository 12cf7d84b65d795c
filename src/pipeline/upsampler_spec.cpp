// Latent upsamplers: a file of the original form, alone or described by the JSON in its metadata, or a diffusers folder.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pipeline/spec_files.h"
#include "vae/config_object.h"
#include "weights/tensor_source.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFirstConv = "initial_conv.weight";
constexpr const char* kEnlargingConv = "upsampler.0.weight";

UpsamplerConfig config_from_json(const json& config, const std::string& where) {
  ConfigObject object(config, where);
  const auto name = object.string("_class_name", "LatentUpsampler");
  LTXV_REQUIRE(Unsupported, name == "LatentUpsampler" || name == "LTXLatentUpsamplerModel", where, ": \"_class_name\" is ", name,
               ", expected LatentUpsampler or LTXLatentUpsamplerModel");
  UpsamplerConfig c;
  c.channels = object.integer("in_channels", c.channels, 1, 1 << 16);
  c.width = object.integer("mid_channels", c.width, 1, 1 << 16);
  c.blocks_a_stage = object.integer("num_blocks_per_stage", c.blocks_a_stage, 1, 1024);
  c.per_frame = object.integer("dims", 3, 2, 3) == 2;
  c.spatial = object.boolean("spatial_upsample", true);
  c.temporal = object.boolean("temporal_upsample", false);
  object.finish();
  return c;
}

// What the shapes say. The numbers are unmistakable: a file without a description is read by them, one with it is checked.
UpsamplerConfig config_from_tensors(const TensorSource& file) {
  const auto shape = [&](const char* name) {
    const TensorEntry* entry = file.find(name);
    LTXV_REQUIRE(BadWeights, entry != nullptr, file.path(), ": not a latent upsampler: tensor \"", name, "\" is missing");
    LTXV_REQUIRE(BadWeights, entry->shape.size() == 4 || entry->shape.size() == 5, file.path(), ": tensor \"", name, "\" has ",
                 entry->shape.size(), " axes, 4 or 5 are needed");
    return entry->shape;
  };
  const auto first = shape(kFirstConv), enlarging = shape(kEnlargingConv);
  UpsamplerConfig c;
  c.width = first[0];
  c.channels = first[1];
  c.per_frame = first.size() == 4;
  c.temporal = enlarging.size() == 5;
  c.spatial = !c.temporal || enlarging[0] == 8 * enlarging[1];
  c.blocks_a_stage = 0;
  while (file.find(text("res_blocks.", c.blocks_a_stage, ".conv1.weight"))) ++c.blocks_a_stage;
  const int64_t positions = (c.temporal ? 2 : 1) * (c.spatial ? 4 : 1);
  LTXV_REQUIRE(BadWeights, enlarging[1] == c.width && enlarging[0] == positions * c.width, file.path(), ": tensor \"", kEnlargingConv,
               "\" makes ", enlarging[0], " channels of ", enlarging[1], ": no upsampler of width ", c.width, " does that");
  return c;
}

std::string words(const UpsamplerConfig& c) {
  return text(c.channels, " latent channels, width ", c.width, ", ", c.blocks_a_stage, " blocks a stage, ", c.per_frame ? 2 : 3,
              " dimensions, ", c.spatial ? (c.temporal ? "spatial and temporal" : "spatial") : (c.temporal ? "temporal" : "nothing to enlarge"));
}

void check_config(const UpsamplerConfig& c, const std::string& where) {
  LTXV_REQUIRE(BadWeights, c.spatial || c.temporal, where, ": neither spatial_upsample nor temporal_upsample is set");
  LTXV_REQUIRE(BadWeights, c.width % kUpsamplerGroups == 0, where, ": \"mid_channels\" ", c.width, " is not a multiple of ",
               kUpsamplerGroups);
  LTXV_REQUIRE(Unsupported, !c.per_frame || !c.temporal, where, ": a temporal upsampler with \"dims\" 2 is not supported");
}

// The folder itself, or the part of a diffusers pipeline.
std::string component_folder(const std::string& folder) {
  const fs::path inside = fs::path(folder) / "latent_upsampler";
  return fs::exists(inside / "config.json") ? inside.string() : folder;
}

}  // namespace

UpsamplerPart load_upsampler_spec(const std::string& path) {
  LTXV_REQUIRE(IoError, fs::exists(path), path, ": no such file or folder");
  UpsamplerPart part;
  std::string where;
  json description;
  std::shared_ptr<const TensorSource> file;
  if (fs::is_directory(path)) {
    part.path = component_folder(path);
    where = (fs::path(part.path) / "config.json").string();
    description = read_json_file(where);
    file = open_component_folder(part.path);
  } else {
    part.path = where = path;
    file = open_tensors(path);
    if (const auto entry = file->metadata().find("config"); entry != file->metadata().end()) {
      description = json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
      LTXV_REQUIRE(BadWeights, description.is_object(), path, ": the \"config\" in its metadata is not a JSON object");
    }
  }
  const UpsamplerConfig seen = config_from_tensors(*file);
  part.config = description.is_null() ? seen : config_from_json(description, where);
  check_config(part.config, where);
  LTXV_REQUIRE(BadWeights, part.config == seen, where, ": says ", words(part.config), "; the tensors are of ", words(seen));
  return part;
}

}  // namespace ltxv
