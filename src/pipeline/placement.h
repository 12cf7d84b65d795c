#pragma once
// Which component lives where, in which dtype and for how long: decided before anything is loaded, by a pure function.
#include <array>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/video_shape.h"

namespace ltxv {

enum class Component { text_encoder, transformer, vae_encoder, vae_decoder, upsampler };
inline constexpr int kComponentCount = 5;
inline constexpr std::array<const char*, kComponentCount> kComponentNames = {"text_encoder", "transformer", "vae_encoder",
                                                                             "vae_decoder", "upsampler"};

enum class ComputeType { f32, bf16 };

enum class Residency {
  resident,  ///< stays loaded between runs
  per_stage  ///< freed when its stage ends
};

/// Everything the decision rests on.
struct PlacementInput {
  std::array<int64_t, kComponentCount> parameter_counts{};
  std::array<bool, kComponentCount> stored_bf16{};  ///< the file holds bf16: used in place, it costs no anonymous memory
  LatentShape latent;                               ///< of the run to plan for
  Compression compression;
  int64_t transformer_width = 0;
  int64_t pass_count = 1;              ///< predictions a step
  int64_t memory_budget_bytes = 0;     ///< of the machine
  bool fast_bf16 = false;              ///< bf16 products at least as fast as f32
  std::string dtype = "auto", device = "auto";
};

struct PlacementPlan {
  std::array<ComputeType, kComponentCount> types{};
  std::array<Residency, kComponentCount> residency{};
  std::array<int64_t, kComponentCount> weight_bytes{};
  bool pack_transformer = false;         ///< store its weights in the order of the matrix units: anonymous memory instead of mapped
  int64_t denoise_activation_bytes = 0;  ///< rough upper estimates
  int64_t decode_activation_bytes = 0;
  int64_t decode_volume_elements = 0;    ///< DecodeOptions::largest_volume
  int64_t peak_bytes = 0;                ///< largest stage

  ComputeType type(Component component) const { return types[static_cast<int>(component)]; }
};

/// Errors: InvalidArgument (unknown dtype or device), Unsupported (fp16 on a CPU), DeviceError (a CUDA device in a CPU build).
PlacementPlan plan_placement(const PlacementInput& input);

}  // namespace ltxv
