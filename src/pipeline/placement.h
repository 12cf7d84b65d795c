#pragma once
// Which component lives where, in which dtype and for how long: decided before anything is loaded, by a pure function.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

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
  per_stage, ///< freed when its stage ends
  per_block  ///< its blocks take turns: on a device in two buffers, from the host's memory; on the CPU in their mapped file
};
inline constexpr std::array<const char*, 3> kResidencyNames = {"resident", "per_stage", "per_block"};

/// A device as a user names it: "auto", "cpu", "cuda" (its first), "cuda:<i>".
struct DeviceWord {
  enum class Kind { automatic, cpu, cuda } kind = Kind::automatic;
  int index = 0;
};
/// Errors: InvalidArgument.
DeviceWord parse_device(const std::string& word);
/// One word, or several with commas between them that compute each video together: "cuda:0,cuda:1", "cpu,cpu".
/// Errors: InvalidArgument (a word, "auto" among several, CPU and CUDA mixed, one CUDA device twice, more than kMostDevices).
std::vector<std::string> parse_devices(const std::string& words);
inline constexpr size_t kMostDevices = 64;

/// Everything the decision rests on.
struct PlacementInput {
  std::array<int64_t, kComponentCount> parameter_counts{};
  std::array<int64_t, kComponentCount> block_parameters{};  ///< of these, those of equal blocks that run one after the other
  std::array<int64_t, kComponentCount> block_counts{};      ///< 0: not made of such blocks
  std::array<bool, kComponentCount> stored_fp8{};           ///< stays so on a device
  int64_t quantised_parameters = 0;                         ///< of the transformer's, kept in a byte each
  LatentShape latent;                               ///< of the run to plan for
  Compression compression;
  int64_t transformer_width = 0;
  int64_t pass_count = 1;              ///< predictions a step
  int64_t rank_count = 1;              ///< devices that share a prediction's tokens
  int64_t memory_budget_bytes = 0;     ///< of the machine
  int64_t device_memory_bytes = 0;     ///< of the device that was opened; 0: none, everything is computed on the CPU
  bool fast_bf16 = false;              ///< bf16 products at least as fast as f32
  bool packs_f32 = false;              ///< f32 products are faster from weights in an order of their own
  bool mapped_files = false;           ///< what is read once a run need not stay in the host's memory
  bool cuda_graphs = false;            ///< asked for
  std::string dtype = "auto", device = "auto";
};

struct PlacementPlan {
  std::array<ComputeType, kComponentCount> types{};
  std::array<Residency, kComponentCount> residency{};
  std::array<int64_t, kComponentCount> weight_bytes{};  ///< where they are computed with; of blocks that take turns, two
  std::array<int64_t, kComponentCount> stage_bytes{};   ///< weights and activations of each stage alone, upper estimates
  bool on_device = false;
  bool keeps_everything = false;         ///< nothing has to go when its stage ends, also what takes turns
  bool pin_transformer = false;          ///< keep a page-locked copy of blocks that take turns, which copies faster
  bool cuda_graphs = false;              ///< record a prediction once and replay it
  bool pack_transformer = false;         ///< store its weights in the order products read them: anonymous memory instead of mapped
  int64_t denoise_activation_bytes = 0;  ///< rough upper estimates
  int64_t decode_activation_bytes = 0;
  int64_t vae_volume_elements = 0;       ///< DecodeOptions::largest_volume, and the same of VideoVae::encode
  int64_t peak_bytes = 0;                ///< largest stage, with what stays loaded beside it
  int64_t budget_bytes = 0;              ///< what the peak was to stay below

  ComputeType type(Component component) const { return types[static_cast<int>(component)]; }
  Residency stays(Component component) const { return residency[static_cast<int>(component)]; }
};

/// On a device: all components stay if they fit together; else all but the text encoder stay, whose blocks take turns; else each is
/// there for its stage, block by block where even that is too much.
/// Errors: InvalidArgument (unknown dtype or device), Unsupported (fp16), DeviceError (a CUDA device without its memory).
PlacementPlan plan_placement(const PlacementInput& input);

}  // namespace ltxv
