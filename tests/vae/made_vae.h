#pragma once
// The small models of tests/golden/make_vae_golden.py.
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "support/golden.h"
#include "support/made_weights.h"
#include "support/temp_folder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {

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
