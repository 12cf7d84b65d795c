#include "pipeline/tensor_files.h"

#include "weights/tensor_io.h"
#include "weights/tensor_source.h"

namespace ltxv {

std::map<std::string, at::Tensor> load_tensors(const std::string& path) {
  // Copied, not mapped: these files are small and the user may overwrite them while we run.
  const auto source = open_tensors(path, FileAccess::copy);
  std::map<std::string, at::Tensor> tensors;
  for (const TensorEntry& entry : source->entries()) {
    LTXV_REQUIRE(NumericError, !has_nan_or_inf(entry), path, ": tensor \"", entry.name, "\" holds NaN or Inf");
    tensors[entry.name] = to_tensor(entry, source);
  }
  return tensors;
}

namespace {

at::Tensor pick(const std::map<std::string, at::Tensor>& tensors, const std::string& path, const std::string& name, int64_t axes) {
  const auto it = tensors.find(name);
  LTXV_REQUIRE(BadWeights, it != tensors.end(), path, ": tensor \"", name, "\" is missing");
  LTXV_REQUIRE(BadWeights, it->second.dim() == axes, path, ": tensor \"", name, "\" is ", it->second.sizes(), ", expected ", axes,
               " axes");
  return it->second;
}

}  // namespace

at::Tensor load_tensor(const std::string& path, const std::string& name, int64_t axes) {
  return pick(load_tensors(path), path, name, axes).to(at::kFloat).contiguous();
}

NoiseSource open_noise(const std::string& path, uint64_t seed) {
  return path.empty() ? NoiseSource(seed) : NoiseSource(load_tensors(path), path);
}

PromptEmbeds load_prompt_embeds(const std::string& path) {
  const auto tensors = load_tensors(path);
  PromptEmbeds out;
  out.embeds = pick(tensors, path, "prompt_embeds", 3).to(at::kFloat);
  out.mask = pick(tensors, path, "prompt_attention_mask", 2).to(at::kLong);
  LTXV_REQUIRE(BadWeights, out.embeds.size(0) == 1 && out.mask.size(0) == 1 && out.mask.size(1) == out.embeds.size(1), path,
               ": prompt_embeds ", out.embeds.sizes(), " and prompt_attention_mask ", out.mask.sizes(), " do not go together");
  return out;
}

}  // namespace ltxv
