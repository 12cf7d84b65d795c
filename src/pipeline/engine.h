#pragma once
// The engine: spec, tokenizer and weights of one model, immutable after open apart from which weights are resident. One engine
// may be used from several threads at once.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/run_context.h"
#include "base/tensor.h"
#include "pipeline/bundled.h"
#include "pipeline/compute_device.h"
#include "pipeline/model_spec.h"
#include "pipeline/request.h"

namespace ltxv {

struct EngineOptions {
  std::string model;  ///< diffusers-layout folder, model file, or the name of a bundled model ("shapes"); empty: "shapes"
  std::string text_encoder, tokenizer, vae, transformer;  ///< parts given apart; empty: the model's own
  std::string release;          ///< built-in name or .json file, for files that do not describe themselves; empty: found out
  std::vector<std::string> upscalers;  ///< latent upsamplers for a second pass, files or folders, in the order they are applied
  std::string device = "auto";  ///< "auto", "cpu", "cuda", "cuda:<i>"; "cuda:0,cuda:1": together
  bool cuda_graphs = false;     ///< record a prediction of the transformer once and replay it, where the device can
  int64_t device_memory_bytes = 0;  ///< use no more of the device's memory than this, the whole process; 0: all of it
  std::string dtype = "auto";   ///< "auto", "fp32", "bf16", "fp16"
  std::string quantization = "none";  ///< W8A8 of the transformer's blocks: "none", "fp8", "int8" (CPU only). Faster, and not the same video
  std::string attention = "exact";    ///< the transformer's self-attention: "exact", "int8" (kernels/attention_int8)
  int thread_count = 0;         ///< 0: physical cores
  bool copy_files = false;      ///< read weights into memory instead of mapping them
};

/// Frames are the decoder's output before clamping: f32 [1,3,T,H,W], about [-1,1], cropped to the asked shape.
struct GenerateResult {
  at::Tensor frames;
  at::Tensor latents;  ///< f32 [1,C,Tl,Hl,Wl], normalised, before decode
  ResolvedRequest resolved;
  std::string metadata_json;  ///< run_record.h: prompt, seed, every resolved setting, model, version
};

struct PromptEmbeds {
  at::Tensor embeds;  ///< [1,S,D] f32
  at::Tensor mask;    ///< [1,S] i64, 1 = token, 0 = padding
};

struct DecodeRequest {
  double timestep = -1, noise_scale = -1;  ///< negative: the model's preset
  NoiseSpace noise_space = NoiseSpace::normalised;
  uint64_t seed = 0;
  std::string noise_path;  ///< draws `decode`, `decoder_00`, … by name
};

/// Takes the frames of a run as they come, instead of GenerateResult::frames.
struct FrameSink {
  std::function<void(const ResolvedRequest& resolved, const std::string& metadata_json)> begin;  ///< once, before any frame
  std::function<void(const at::Tensor& frames)> write;  ///< f32 [1,3,t,H,W], in order, cropped to the asked shape
};

class Engine {
 public:
  /// Reads configs and headers, checks that the parts belong together; weights are read when a stage needs them.
  /// Errors: IoError, BadWeights, Unsupported, InvalidArgument, DeviceError.
  static std::shared_ptr<Engine> open(const EngineOptions& options);
  ~Engine();

  const ModelSpec& spec() const;
  /// One JSON object: model, release, parts with files, parameters and dtype, device, compute dtype, threads.
  std::string describe_json() const;

  /// What generate would do with this request, as it is stored in files: one JSON object, every value filled in. Quick.
  /// Errors: InvalidArgument.
  std::string resolve_json(const Request& request) const;
  GenerateResult generate(const Request& request, const RunHooks& hooks = {}, const FrameSink* sink = nullptr);
  PromptEmbeds embed(const std::string& prompt, int64_t max_text_tokens, const RunHooks& hooks = {});
  /// pixels f32 [1,3,T,H,W] in [-1,1], T = 8k+1, H and W on the grid -> normalised latents (posterior mean) f32.
  at::Tensor encode(const at::Tensor& pixels, const RunHooks& hooks = {});
  /// normalised latents f32 [1,C,T,H,W] -> frames f32 [1,3,T,H,W] before clamping.
  at::Tensor decode(const at::Tensor& latents, const DecodeRequest& request, const RunHooks& hooks = {});

  /// normalised latents f32 [1,C,T,H,W] through every upscaler; `adain` of the way back to their own statistics.
  /// Errors: InvalidArgument (no upscaler, shape, adain outside [0,1]), NumericError, Cancelled.
  at::Tensor upscale(const at::Tensor& latents, double adain, const RunHooks& hooks = {});

  /// open() on devices that are there already: what tests reach.
  static std::shared_ptr<Engine> open_on(const EngineOptions& options, const std::vector<ComputeDevice>& devices);

  struct Impl;  ///< engine_impl.h

 private:
  explicit Engine(std::unique_ptr<Impl> impl);
  static std::shared_ptr<Engine> checked(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Frames in [-1,1] of an image, clip, `%04d` sequence or `.safetensors` (`frames`), f32 [1,3,T,H,W]; with `fit`, centre-cropped to
/// its aspect and resized to it. `frames_per_second` receives the clip's rate, or 0.
at::Tensor read_frames(const std::string& path, const PixelShape* fit, double* frames_per_second);

/// Writes frames f32 [1,3,T,H,W] by the extension of `path` (design: mp4 mkv webm gif png safetensors); complete or absent.
void write_frames(const std::string& path, const at::Tensor& frames, double frames_per_second, const std::string& metadata_json,
                  const RunHooks& hooks = {});
/// generate() into a file, as write_frames: a request with windows writes frames while the next window is still to be made, so
/// memory does not grow with length (a `.safetensors` file still holds everything at once). The result has no frames.
GenerateResult generate_to_file(Engine& engine, const Request& request, const std::string& path, const RunHooks& hooks = {});
/// Everything about `path` that can be known to fail before the model is loaded. Errors: InvalidArgument, IoError, Unsupported.
void check_output_path(const std::string& path);

/// The settings stored in a file that write_frames or generate_to_file wrote: one JSON object.
/// Errors: IoError (cannot be read, or holds none).
std::string read_settings(const std::string& path);

/// One JSON object on what a file or folder is: kind, release, parts, parameters, dtype, metadata, what is missing.
std::string inspect(const std::string& path);

}  // namespace ltxv
