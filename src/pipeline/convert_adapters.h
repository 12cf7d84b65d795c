#pragma once
// What stands beside a model in another form: LoRA files between the names of other programs, and latent upsamplers.
#include "pipeline/convert_tensors.h"

namespace ltxv {

/// Names of the tensors of a LoRA file.
enum class LoraNames {
  stored,     ///< as in the file
  diffusers,  ///< transformer.<diffusers path>.lora_A.weight; an alpha is multiplied in, since diffusers reads none
  comfyui,    ///< diffusion_model.<original path>.lora_A.weight, with .alpha where it is not the rank
  kohya       ///< lora_unet_<original path with underscores>.lora_down.weight, with .alpha
};
/// Errors: InvalidArgument listing the names.
LoraNames lora_names(const std::string& name);

struct AdapterTensors {
  std::vector<StreamedTensor> tensors;
  std::map<std::string, std::string> metadata;
  int64_t text_encoder_tensors = 0;  ///< that the new names have no place for
};

/// Errors: InvalidArgument for a dtype that is not one of wide floats; BadWeights listing modules that no LTX-Video transformer has;
///         Unsupported for what the new names cannot say (full differences in diffusers' names, biases of pairs in others).
AdapterTensors lora_tensors(const Part& part, LoraNames names, WrittenDtype dtype, const RunContext& run);
AdapterTensors upsampler_tensors(const Part& part, WrittenDtype dtype, const RunContext& run);

/// An upsampler's description: of a diffusers folder's config.json, or of the original file's metadata.
enum class UpsamplerForm { diffusers, original };
nlohmann::ordered_json upsampler_description(const UpsamplerConfig& config, UpsamplerForm form);

}  // namespace ltxv
