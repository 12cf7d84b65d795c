#pragma once
// Safetensors files of a run: draws, latents, prompt embeddings, frames.
#include <map>
#include <string>

#include "base/tensor.h"
#include "diffusion/noise.h"
#include "pipeline/engine.h"

namespace ltxv {

/// Every tensor of a file, copied into memory. Errors: IoError, BadWeights.
std::map<std::string, at::Tensor> load_tensors(const std::string& path);

/// One tensor as f32 with the expected number of axes. Errors: BadWeights naming file and tensor; NumericError for NaN or Inf.
at::Tensor load_tensor(const std::string& path, const std::string& name, int64_t axes);

/// From a file of named draws if `path` is not empty, else from the seed.
NoiseSource open_noise(const std::string& path, uint64_t seed);

/// `prompt_embeds` [1,S,D] and `prompt_attention_mask` [1,S] as written by embed. Errors: as load_tensor.
PromptEmbeds load_prompt_embeds(const std::string& path);

}  // namespace ltxv
