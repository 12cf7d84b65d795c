#include "diffusion/noise.h"

#include <ATen/CPUGeneratorImpl.h>

#include "base/error.h"
#include "diffusion/tokens.h"

namespace ltxv {

NoiseSource::NoiseSource(uint64_t seed) : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)) {}

NoiseSource::NoiseSource(std::map<std::string, at::Tensor> given, std::string file)
    : given_(std::move(given)), file_(std::move(file)) {}

at::Tensor NoiseSource::given(const std::string& name, at::IntArrayRef shape) const {
  const auto it = given_.find(name);
  LTXV_CHECK(it != given_.end(), file_, ": noise \"", name, "\" is missing");
  at::Tensor noise = it->second.to(at::kFloat);
  const bool volume_to_tokens = shape.size() == 3 && noise.dim() == 5 && noise.size(0) == shape[0] && noise.size(1) == shape[2] &&
                                noise.numel() == shape[0] * shape[1] * shape[2];
  const bool tokens_to_volume = shape.size() == 5 && noise.dim() == 3 && noise.size(0) == shape[0] && noise.size(2) == shape[1] &&
                                noise.size(1) == shape[2] * shape[3] * shape[4];
  if (volume_to_tokens) noise = to_tokens(noise);
  if (tokens_to_volume) noise = to_volume(noise, {shape[2], shape[3], shape[4]});
  LTXV_CHECK(noise.sizes() == shape, file_, ": noise \"", name, "\" is ", it->second.sizes(), ", expected ", shape);
  return noise.contiguous();
}

void NoiseSource::require(const std::string& name, at::IntArrayRef shape) const {
  if (!generator_) given(name, shape);
}

at::Tensor NoiseSource::draw(const std::string& short_name, at::IntArrayRef shape) {
  const std::string name = prefix_ + short_name;
  const auto noise = generator_ ? at::randn(shape, generator_, at::TensorOptions().dtype(at::kFloat)) : given(name, shape);
  drawn_[name] = noise;
  return noise;
}

std::string indexed_name(const std::string& prefix, int64_t index) {
  return text(prefix, "_", index < 10 ? "0" : "", index);
}

}  // namespace ltxv
