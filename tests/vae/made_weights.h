#pragma once
// The small models of tests/golden/make_vae_golden.py: the same values from the same integers, so that no weights are stored.
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "support/golden.h"
#include "support/temp_folder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {

/// offset + scale * [-1, 1), exact in f32 for scales that are powers of two. Source: make_vae_golden.py, made.
inline at::Tensor made(const std::string& name, const std::vector<int64_t>& shape, float scale, float offset = 0) {
  uint32_t seed = 2166136261u;
  for (const unsigned char byte : name) seed = (seed ^ byte) * 16777619u;
  at::Tensor out = at::empty(shape, at::kFloat);
  float* values = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed;
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    h ^= h >> 16;
    values[i] = (static_cast<float>(h >> 8) / static_cast<float>(1 << 23) - 1.0f) * scale + offset;
  }
  return out;
}

/// The weight of one diffusers name. Source: make_vae_golden.py, weight.
inline at::Tensor made_weight(const std::string& name, const std::vector<int64_t>& shape) {
  if (name.ends_with("timestep_scale_multiplier")) return at::full({}, 1000.0, at::kFloat);
  if (name == "latents_std" || name.ends_with("norm3.weight")) return made(name, shape, 0.25f, 1.0f);
  if (!name.ends_with(".weight")) return made(name, shape, 0.25f);
  double fan_in = 1;
  for (size_t i = 1; i < shape.size(); ++i) fan_in *= static_cast<double>(shape[i]);
  return made(name, shape, static_cast<float>(std::exp2(std::nearbyint(std::log2(std::sqrt(3 / fan_in))))));
}

/// One case: its description, its weights as a diffusers folder and, where there is an original layout, as a single file.
class MadeVae {
 public:
  explicit MadeVae(const std::string& name) : golden("vae/" + name) {
    std::ifstream(golden_path("vae/" + name + ".json")) >> info;
    std::map<std::string, std::string> original;  // diffusers name -> name in a single file
    if (info.contains("original_names")) {
      for (const auto& [to, from] : info["original_names"].items()) original[from.get<std::string>()] = to;
    }
    std::vector<at::Tensor> kept;
    std::vector<TensorToWrite> folder_tensors, file_tensors;
    for (const auto& [key, shape] : info["tensors"].items()) {
      kept.push_back(made_weight(key, shape.get<std::vector<int64_t>>()));
      std::vector<int64_t> sizes = kept.back().sizes().vec();
      folder_tensors.push_back({key, StoredType::f32, sizes, kept.back().const_data_ptr()});
      if (!original.count(key)) continue;
      file_tensors.push_back({original[key], StoredType::f32, sizes, kept.back().const_data_ptr()});
    }
    write_safetensors(files / "diffusion_pytorch_model.safetensors", folder_tensors);
    if (original.empty()) return;
    // What real files carry beside: unused statistics and another component.
    const at::Tensor unused = at::zeros({16}, at::kFloat);
    for (const char* extra : {"vae.per_channel_statistics.channel", "vae.per_channel_statistics.mean-of-stds",
                              "vae.per_channel_statistics.mean-of-stds_over_std-of-means",
                              "model.diffusion_model.proj_out.bias"}) {
      file_tensors.push_back({extra, StoredType::f32, {16}, unused.const_data_ptr()});
    }
    write_safetensors(files / "single.safetensors", file_tensors);
  }

  bool has_original() const { return info.contains("original"); }
  std::string folder() const { return files.path(); }
  std::string single_file() const { return files / "single.safetensors"; }

  TempFolder files;
  Golden golden;
  nlohmann::json info;
};

}  // namespace ltxv::test
