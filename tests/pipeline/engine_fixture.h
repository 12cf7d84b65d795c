#pragma once
// Runs of the tiny model through the engine, with the draws and conditions of a golden pipeline run.
#include <filesystem>
#include <map>
#include <string>

#include "pipeline/engine.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/model_copy.h"

namespace ltxv::test {

inline constexpr auto kPrompt =
    "A red circle moves slowly to the right. The camera is still.";  // tiny_model.py, PROMPT

inline std::shared_ptr<Engine> open_tiny(const std::string& dtype = "fp32") {
  return Engine::open({.model = golden_path("tiny_model"), .device = "cpu", .dtype = dtype, .thread_count = 2});
}

/// 64 x 96 pixels at 25 frames a second: what all golden runs use.
inline Request small_request(int64_t frame_count, int64_t step_count) {
  return {.prompt = kPrompt,
          .width = 96,
          .height = 64,
          .frame_count = frame_count,
          .frames_per_second = 25,
          .step_count = step_count,
          .seed = 1,
          .image_noise_scale = 0.0};
}

/// u8 [3,T,8,12] -> f32 [1,3,T,64,96]: make_golden.py, full_frames().
inline at::Tensor full_frames(const at::Tensor& small) {
  return (small.repeat_interleave(8, 2).repeat_interleave(8, 3).unsqueeze(0).to(at::kFloat) / 127.5 - 1).contiguous();
}

/// diffusers mixes its decode noise n into raw latents, z std + mean; this library, as the official code, into
/// normalised ones. The same mix follows from other noise: (1 - s) (z std + mean) + s n = ((1 - s) z + s (n - mean) /
/// std) std + mean.
inline at::Tensor decode_noise_of_diffusers(const at::Tensor& raw_noise) {
  const auto vae = open_tensors(golden_path("tiny_model/vae/diffusion_pytorch_model.safetensors"));
  const auto statistic = [&](const char* name) {
    return to_tensor(*vae->find(name), vae).to(at::kFloat).view({1, -1, 1, 1, 1});
  };
  return (raw_noise - statistic("latents_mean")) / statistic("latents_std");
}

/// Files with the draws and the conditions of golden run `job`.
struct GoldenRun {
  GoldenRun(const Golden& golden, const std::string& job, Request base) : request(std::move(base)) {
    std::map<std::string, at::Tensor> draws;
    for (const auto& name : golden.below(job + "/noise/")) draws[name] = golden[job + "/noise/" + name];
    if (draws.count("decode")) draws["decode"] = decode_noise_of_diffusers(draws["decode"]);
    save_tensors(request.noise_path = folder / "noise.safetensors", draws);
    for (int i = 0; golden.has(job + "/in_condition_" + std::to_string(i)); ++i) {
      const auto path = folder / ("frames" + std::to_string(i) + ".safetensors");
      const auto n = golden.numbers(job + "/in_condition_" + std::to_string(i));
      save_tensors(path, {{"frames", full_frames(golden[job + "/in_frames_" + std::to_string(i)])}});
      request.conditions.push_back({path, static_cast<int64_t>(n[0]), n[1]});
    }
  }
  TempFolder folder;
  Request request;
};

inline std::map<std::string, at::Tensor> tensors_of(const std::string& path) {
  const auto source = open_tensors(path, FileAccess::copy);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  return tensors;
}

/// Replaces the weights of one component of a model copy by what `change` makes of them, in one file.
template <class Change>
void change_weights(const ModelCopy& model, const std::string& component, Change&& change) {
  const auto source = open_component_folder(model / component, FileAccess::copy);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  change(tensors);
  const std::string stem = component == "text_encoder" ? "/model" : "/diffusion_pytorch_model";
  std::filesystem::remove(model / (component + stem + ".safetensors.index.json"));
  save_tensors(model / (component + stem + ".safetensors"), tensors);
}

}  // namespace ltxv::test
