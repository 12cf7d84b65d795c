#pragma once
// Weights that are not stored: computed from a tensor's name, here and in tests/golden/make_vae_golden.py.
#include <cmath>
#include <string>
#include <vector>

#include "base/tensor.h"

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

}  // namespace ltxv::test
