#pragma once
// What a caller asks for. Zero or empty means "the preset's value"; resolve() fills every field and checks every one, so that all
// errors a request can cause come before any heavy work. Torch-free.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/video_shape.h"
#include "pipeline/model_spec.h"

namespace ltxv {

/// One image or clip that the generated video must contain.
struct ConditionItem {
  std::string path;         ///< image, video, or `.safetensors` with `frames` f32 [1,3,T,H,W] in [-1,1]
  int64_t frame_index = 0;  ///< where its first frame goes
  double strength = 1.0;    ///< 1 keeps it exactly, 0 ignores it
};

/// A LoRA file merged into the transformer for one run.
struct LoraItem {
  std::string path;       ///< `.safetensors`
  double strength = 1.0;  ///< factor of everything the file adds; negative ones are legal
};

/// How pictures become frames of the computed size.
enum class ImagePrep {
  plain,     ///< centre-cropped to the asked aspect, resized (bilinear, antialiased)
  official,  ///< cropped likewise, softened, sent through a video codec, and resized as the official code does
  diffusers  ///< resized (Lanczos) without a crop: another aspect is stretched
};

/// Which latents the noise for a timestep-conditioned decoder is mixed into.
enum class NoiseSpace {
  normalised,  ///< the official code
  raw          ///< diffusers
};

/// What the text encoder's tokens see of the padding behind the prompt.
enum class TextPadding {
  masked,   ///< nothing: the official code
  attended  ///< all of it, up to the longest prompt: three of diffusers' pipelines
};

/// Where latent frames lie in time.
enum class FramePositions {
  model,   ///< as the model's files say
  causal,  ///< the first latent frame holds one pixel frame
  plain    ///< every latent frame lies at a multiple of the compression, as in diffusers' first pipelines
};

/// A long video in overlapping windows; 0 frames switches windows off. Counts are rounded down to latent frames.
struct WindowOptions {
  int64_t frame_count = 0;                ///< of a window
  std::optional<int64_t> overlap;         ///< frames that a window shares with the one before; unset: 24
  std::optional<double> overlap_strength; ///< how closely those are kept, 1 = exactly; unset: 0.5
  std::optional<double> match;            ///< how far each window's statistics are moved to the first one's; unset: 0.25
  std::optional<double> eta;              ///< fresh noise of the ancestral steps, 0 = none; unset: 1
};

/// How the initial noise follows from the seed.
enum class NoiseKind {
  torch,       ///< equal to torch.randn(generator=torch.Generator("cpu").manual_seed(seed)) at [1,C,T,H,W], as diffusers draws it
  torch_tokens ///< the same generator at [1,N,C], the layout of the official code
};

struct Request {
  std::string prompt;                          ///< UTF-8; empty is legal
  std::optional<std::string> negative_prompt;  ///< unset: the preset's
  std::string prompt_embeds_path, negative_prompt_embeds_path;  ///< files written by embed, used instead of the text encoder; with
                                                                ///< windows the first one as the prompt: one a window between "|"

  int64_t width = 0, height = 0;  ///< pixels
  int64_t frame_count = 0;
  double seconds = 0;             ///< instead of frame_count: the nearest count on the model's grid
  double frames_per_second = 0;

  int64_t step_count = 0;
  std::vector<double> sigmas;     ///< explicit schedule, descending in (0, 1]; a final 0 is implied
  std::optional<double> guidance_scale;
  std::optional<double> guidance_rescale;  ///< rescale after classifier-free guidance (diffusers' meaning), 0 = off
  std::optional<uint64_t> seed;            ///< unset: the preset's
  NoiseKind noise_kind = NoiseKind::torch;
  int64_t max_text_tokens = 0;

  // Guidance that changes with the noise level: a list holds one entry for all levels or one for each of guidance_timesteps. A step
  // takes the first bin whose timestep is not above its sigma, or the last bin.
  std::vector<double> guidance_timesteps;               ///< descending in [0,1]
  std::vector<double> guidance_scales;                  ///< instead of guidance_scale
  std::vector<double> stg_scales;                       ///< spatio-temporal guidance; above 0 adds a perturbed pass
  std::vector<double> guidance_rescales;                ///< instead of guidance_rescale; with STG the official rescaling (1 = off)
  std::vector<std::vector<int64_t>> skip_blocks;        ///< blocks the perturbed pass changes
  std::string stg_mode;                                 ///< "attention_values" (default), "attention_skip", "residual", "transformer_block"
  std::optional<bool> cfg_star;                         ///< project the negative prediction on the positive one
  std::optional<bool> stochastic;                       ///< noise afresh after every step, as some distilled models want
  std::optional<int64_t> skip_first_steps, skip_last_steps;  ///< cut from the schedule; skipping first ones needs an input video

  std::string input_video_path;    ///< video, image or `.safetensors` (`frames` or `latents`) to start from
  std::optional<double> strength;  ///< of the schedule run on the input video, 1 = all of it

  std::string mask_path;   ///< image, clip or `.safetensors` (`mask` f32 [1,1,T,H,W] in [0,1], or `frames`); white is generated anew
  int64_t mask_blend = 0;  ///< rows and columns of latent cells around it that may change too, less with distance
  bool outpaint = false;   ///< the input video is fitted inside; what lies outside or behind its end is generated
  bool composite = false;  ///< pixels the mask keeps are copied from the input video into the result

  WindowOptions window;  ///< the prompt then holds one prompt a window, separated by "|"; the last one repeats
  // Two passes: the first at a part of the size, its latents enlarged by the engine's upsamplers, the second on those.
  int64_t pass_count = 0;  ///< 1 or 2; 0: two where the engine has an upsampler or the preset asks for one
  SecondPass second_pass;  ///< what is not said: the preset's, else as the first pass

  std::vector<ConditionItem> conditions;
  std::optional<double> image_noise_scale;
  ImagePrep image_prep = ImagePrep::plain;
  std::optional<int64_t> image_crf;  ///< of the codec in official preparation, 0 = none; unset: 29
  NoiseSpace decode_noise_space = NoiseSpace::normalised;
  TextPadding text_padding = TextPadding::masked;
  FramePositions frame_positions = FramePositions::model;

  std::vector<LoraItem> loras;    ///< added up
  std::string control_path;       ///< reference clip of an in-context LoRA: as the path of a condition
  double control_strength = 1.0;  ///< 1 shows the clip to the model as it is, less mixes it with noise

  std::optional<double> decode_timestep, decode_noise_scale;

  std::string noise_path;         ///< every random draw by name, instead of the generator
  std::string save_noise_path;    ///< the draws of this run
  std::string save_latents_path;  ///< denoised, normalised latents before decode
  std::string preset;             ///< name of a preset of the model; empty: its default
};

/// What one step does beside the plain prediction.
struct StepGuidance {
  double scale = 1, stg_scale = 0, rescale = 0;
  std::vector<int64_t> skip_blocks;
  bool operator==(const StepGuidance&) const = default;
};

/// Every field filled, checked and on the model's grid: one pass of a run.
struct ResolvedRequest {
  Request request;      ///< with every optional set
  PixelShape asked;     ///< what the caller gets
  PixelShape padded;    ///< `asked` on the grid
  PixelShape computed;  ///< of this pass: `padded`, or another size that the last pass's frames are resized from
  LatentShape latent;   ///< of `computed`
  double frames_per_second = 0;  ///< of this pass: a temporal upsampler doubles it
  int64_t frame_step = 1;        ///< frames of the result a frame of this pass stands for
  int64_t first_step = 0, all_steps = 0;  ///< of the steps of both passes
  std::vector<double> sigmas;          ///< descending, without the final 0
  std::vector<StepGuidance> guidance;  ///< one a step
  std::vector<ResolvedRequest> second_pass;  ///< none or one: the same request with the second pass's size, steps and guidance

  const ResolvedRequest& last_pass() const { return second_pass.empty() ? *this : second_pass.front(); }
};

/// Windows of one pass, in its latent frames.
struct WindowSizes {
  int64_t size = 0, overlap = 0;
};
/// Their count is one in result frames: a pass at a lower rate has fewer.
WindowSizes window_sizes(const ResolvedRequest& pass, const Compression& grid);

/// Merges the preset, checks ranges and derives shapes. Errors: InvalidArgument naming the option, what was given and what is
/// allowed.
ResolvedRequest resolve(const Request& request, const ModelSpec& spec);

/// The resolved request as JSON (one object, stable key order): stored in output files and echoed by the program.
std::string to_json(const ResolvedRequest& resolved, const ModelSpec& spec);

}  // namespace ltxv
