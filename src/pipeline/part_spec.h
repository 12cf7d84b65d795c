#pragma once
// What one part of a model, a folder or a file, says about itself. Torch-free.
#include <nlohmann/json.hpp>
#include <memory>
#include <optional>
#include <string>

#include "pipeline/model_spec.h"
#include "weights/tensor_source.h"

namespace ltxv {

/// config.json of a component folder; `where` receives its path. Errors: Unsupported (no folder), as read_json_file.
nlohmann::json part_config(const std::string& folder, std::string* where);

/// Where a component is: a folder with config.json and weights, or a file, opened. Errors: as open_tensors.
struct Place {
  explicit Place(std::string where);
  std::string path;
  std::shared_ptr<const TensorSource> file;  ///< null for a folder

  /// embedded_config() of the file; an empty object for a folder.
  nlohmann::json embedded() const;
  bool has_diffusers_names() const;
  /// The config.json of the folder, or the one beside a file out of such a folder.
  std::optional<nlohmann::json> diffusers_config(std::string* where) const;
};

struct DescribedTransformer {
  TransformerConfig config;
  bool states_causal = false;
};

/// What a transformer's folder or file says about itself; nothing where it says nothing. Errors: BadWeights, Unsupported.
std::optional<DescribedTransformer> describe_transformer(const Place& place);
/// File names of its tensors -> canonical names.
KeyMap transformer_names(const Place& place);

/// The same of a VAE; sets vae_files and both name maps of `spec` in any case.
std::optional<VaeConfig> describe_vae(const Place& place, ModelSpec& spec);

}  // namespace ltxv
