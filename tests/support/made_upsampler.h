#pragma once
// Latent upsamplers with made weights, in both forms files have.
#include <filesystem>
#include <map>
#include <string>

#include "base/tensor.h"
#include "support/made_weights.h"
#include "support/temp_folder.h"
#include "upscale/upsampler_config.h"
#include "weights/tensor_io.h"

namespace ltxv::test {

/// Every tensor of an upsampler. Source of the names and shapes: LTX-Video models/autoencoders/latent_upsampler.py.
inline std::map<std::string, at::Tensor> made_upsampler_tensors(const UpsamplerConfig& c) {
  std::map<std::string, at::Tensor> tensors;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) { tensors[name] = made_weight(name, shape); };
  const auto conv = [&](const std::string& name, int64_t in, int64_t out, bool volume) {
    add(name + ".weight", volume ? std::vector<int64_t>{out, in, 3, 3, 3} : std::vector<int64_t>{out, in, 3, 3});
    add(name + ".bias", {out});
  };
  const auto norm = [&](const std::string& name) {
    add(name + ".weight", {c.width});
    add(name + ".bias", {c.width});
  };
  const bool volumes = !c.per_frame;
  conv("initial_conv", c.channels, c.width, volumes);
  norm("initial_norm");
  for (const std::string stage : {"res_blocks.", "post_upsample_res_blocks."})
    for (int64_t i = 0; i < c.blocks_a_stage; ++i) {
      const std::string block = stage + std::to_string(i);
      conv(block + ".conv1", c.width, c.width, volumes);
      norm(block + ".norm1");
      conv(block + ".conv2", c.width, c.width, volumes);
      norm(block + ".norm2");
    }
  conv("upsampler.0", c.width, c.width * (c.temporal ? 2 : 1) * (c.spatial ? 4 : 1), c.temporal);
  conv("final_conv", c.width, c.channels, volumes);
  return tensors;
}

inline std::string upsampler_json(const UpsamplerConfig& c, const std::string& class_name) {
  const auto word = [](bool b) { return b ? "true" : "false"; };
  return "{\"_class_name\": \"" + class_name + "\", \"in_channels\": " + std::to_string(c.channels) +
         ", \"mid_channels\": " + std::to_string(c.width) + ", \"num_blocks_per_stage\": " + std::to_string(c.blocks_a_stage) +
         ", \"dims\": " + (c.per_frame ? "2" : "3") + ", \"spatial_upsample\": " + word(c.spatial) +
         ", \"temporal_upsample\": " + word(c.temporal) + "}";
}

/// One file with its description in the metadata. Returns the path.
inline std::string write_upsampler_file(const TempFolder& folder, const std::string& name, const UpsamplerConfig& c) {
  save_tensors(folder / name, made_upsampler_tensors(c), {{"config", upsampler_json(c, "LatentUpsampler")}});
  return folder / name;
}

/// A diffusers folder. Returns its path.
inline std::string write_upsampler_folder(const TempFolder& folder, const std::string& name, const UpsamplerConfig& c) {
  std::filesystem::create_directories(folder / name);
  folder.write(name + "/config.json", upsampler_json(c, "LTXLatentUpsamplerModel"));
  save_tensors(folder / (name + "/diffusion_pytorch_model.safetensors"), made_upsampler_tensors(c));
  return folder / name;
}

}  // namespace ltxv::test
