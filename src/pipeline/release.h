#pragma once
// What is known of the published releases: specs/*.json, one file a release, each the difference to the one it builds on. They
// complete what a checkpoint does not say about itself. Torch-free.
#include <nlohmann/json.hpp>
#include <string>

#include "pipeline/model_spec.h"
#include "weights/tensor_source.h"

namespace ltxv {

/// What can be seen of a checkpoint before its release is known; releases are matched by it.
struct ReleaseFacts {
  int64_t transformer_width = 0, layer_count = 0;
  bool timestep_conditioning = false;   ///< of the VAE's decoder
  bool space_to_depth_encoder = false;  ///< of the VAE
  bool distilled = false;               ///< lists its noise levels, or says so in its name
  std::string name;                     ///< of the file or folder: the last resort to tell equal shapes apart
};

/// The facts that names and shapes of tensors give. Errors: BadWeights when the file holds no such component.
void read_transformer_facts(const TensorSource& file, const KeyMap& names, ReleaseFacts& facts);
/// By the VAE names of `spec`.
void read_vae_facts(const TensorSource& file, const ModelSpec& spec, ReleaseFacts& facts);
void read_vae_facts(const VaeConfig& vae, ReleaseFacts& facts);

/// A release's description: "name", "causal_temporal_positioning", "presets" and, in the form of a checkpoint's own metadata,
/// "transformer" (only where the release fixes it), "vae" and "scheduler"; "fp8_remark" is what a user of fp8 files should know.
/// By name, or from a JSON file of the same form. Errors: InvalidArgument listing the names; IoError, BadWeights.
nlohmann::json release_named(const std::string& name_or_path);
/// The first one whose rules all hold. Errors: Unsupported when there is none.
nlohmann::json release_matching(const ReleaseFacts& facts, const std::string& where);

/// Release name, presets (the one named "default" first) and, unless the model states it itself, the coordinate rule.
void apply_release(const nlohmann::json& release, ModelSpec& spec, bool states_causal);

}  // namespace ltxv
