#pragma once
// A model as data: component configs, schedule, coordinate rule and presets. It comes from the files of the model (a folder's
// config.json files, or the JSON inside a single file), completed by a built-in spec picked by fingerprint. Torch-free.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/video_shape.h"
#include "text/t5_config.h"
#include "transformer/transformer_config.h"
#include "upscale/upsampler_config.h"
#include "vae/vae_config.h"
#include "weights/key_map.h"

namespace ltxv {

/// How a step count becomes sigmas (model-wide; explicit sigmas override it).
struct ScheduleSpec {
  enum class Kind { uniform, shifted, linear_quadratic };
  Kind kind = Kind::uniform;
  // kind shifted: the SD3 shift whose strength grows with the token count, stretched to end at `terminal`.
  double base_shift = 0.95, max_shift = 2.05, base_tokens = 1024, max_tokens = 4096;
  std::optional<double> terminal;
  double fixed_shift = 1.0;  ///< kind uniform: t' = s t / (1 + (s - 1) t)
};

/// How the steps of one pass are guided, and which of the schedule's steps run. Lists: one entry for all noise levels, or one for each
/// of guidance_timesteps. Empty and unset: nothing is said.
struct PassSettings {
  std::vector<double> guidance_timesteps, guidance_scales, guidance_rescales, stg_scales;
  std::vector<std::vector<int64_t>> skip_blocks;
  std::string stg_mode;
  std::optional<bool> cfg_star, stochastic;
  std::optional<int64_t> skip_first_steps, skip_last_steps;
  bool operator==(const PassSettings&) const = default;
};

/// A second pass over latents that upsamplers enlarged. What is not said here is as in the first pass.
struct SecondPass : PassSettings {
  std::optional<double> downscale;  ///< side of the first pass over that of the result; only with a spatial upsampler
  int64_t step_count = 0;           ///< of a whole schedule, of which skip_first_steps leaves the end
  std::vector<double> sigmas;
  std::optional<double> adain;      ///< how far the enlarged latents take on mean and deviation of the first pass's, 0 to 1
  std::optional<double> tone_map;   ///< compression of the final latents' tones, 0 to 1
  bool operator==(const SecondPass&) const = default;
};

struct Preset {
  std::string name = "default";
  int64_t width = 704, height = 480, frame_count = 121;
  double frames_per_second = 25;
  int64_t step_count = 40;
  std::vector<double> sigmas;  ///< explicit list of distilled models; empty: the schedule
  double guidance_scale = 3, guidance_rescale = 0, image_noise_scale = 0;
  double decode_timestep = 0.05, decode_noise_scale = 0.025;
  std::string negative_prompt = "worst quality, inconsistent motion, blurry, jittery, distorted";
  int64_t max_text_tokens = 256;
  uint64_t seed = 171198;
  PassSettings pass;                       ///< lists here win over the single numbers above
  std::optional<SecondPass> second_pass;   ///< set: the preset needs an upsampler
};

/// Where one component's weights and config come from.
struct ComponentFiles {
  std::string path;  ///< folder or file
  KeyMap names;      ///< file names -> canonical names
};

/// A latent upsampler given beside the model. Its names are canonical in every form.
struct UpsamplerPart {
  std::string path;  ///< folder or file
  UpsamplerConfig config;
};

struct ModelSpec {
  std::string name;     ///< "shapes", or the folder's name
  std::string release;  ///< the release asked for, else the one that matched
  T5Config text;
  TransformerConfig transformer;
  VaeConfig vae;
  ScheduleSpec schedule;
  std::vector<Preset> presets;  ///< the first is the default
  std::vector<UpsamplerPart> upsamplers;  ///< applied in this order between two passes
  ComponentFiles text_files, transformer_files, vae_files;  ///< the VAE's names are the two maps below
  KeyMap vae_encoder_names, vae_decoder_names;              ///< each drops the other half
  std::vector<std::string> remarks;                         ///< what a user should know of these files; logged with every run
  std::string tokenizer_path;

  const Preset& preset(const std::string& name) const;  ///< "" = default. Errors: InvalidArgument listing the names.
};

/// Reads a diffusers-layout folder or an original checkpoint (safetensors or GGUF, whole or a transformer alone). Parts given apart
/// replace the model's. What the files do not say about themselves comes from `release` (a built-in name or a .json file), or from
/// the release their names and shapes match. Errors: IoError, BadWeights (malformed or inconsistent config), Unsupported (a value or
/// class this library does not implement; an LTX-2 model says so), InvalidArgument (an unknown release).
struct ModelParts {
  std::string model, text_encoder, tokenizer, vae, transformer, release;
  std::vector<std::string> upscalers;
};
ModelSpec load_model_spec(const ModelParts& parts);

}  // namespace ltxv
