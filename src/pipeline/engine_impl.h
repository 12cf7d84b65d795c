#pragma once
#include <c10/core/InferenceMode.h>

#include <deque>
#include <mutex>
#include <optional>

#include "diffusion/noise.h"
#include "pipeline/engine.h"
#include "pipeline/weight_store.h"
#include "text/tokenizer.h"

namespace ltxv {

struct Engine::Impl {
  Impl(const EngineOptions& options, ModelSpec model_spec, std::vector<ComputeDevice> compute_devices);

  PlacementPlan plan(const LatentShape& latent, int64_t pass_count) const;
  int64_t usable_device_memory() const;  ///< of the smallest device's, what the options leave
  std::string device_names() const;      ///< "cuda:0,cuda:1"
  /// A warning where the plan does not fit the device.
  void warn_of_memory(const PlacementPlan& plan, const RunContext& run) const;

  EngineOptions options;
  ModelSpec spec;
  std::vector<ComputeDevice> devices;  ///< that compute predictions together
  const ComputeDevice& compute;        ///< the first, which does everything else
  std::optional<Tokenizer> tokenizer;  ///< absent when the model comes without text parts
  WeightStore weights;
  int thread_count;
  std::deque<StreamPool> streams;  ///< of each different device
  std::mutex one_shared_run;       ///< held while several devices compute a prediction: their ranks wait for each other
};

/// Held for the duration of every call into an engine: no autograd, the engine's thread count on this thread, and its device.
class ComputeScope {
 public:
  explicit ComputeScope(Engine::Impl& engine);

 private:
  c10::InferenceMode inference_;
  OnDevice on_device_;
};

/// Embeddings of a prompt. `padded` computes all max_tokens positions, as a reference does; otherwise only the real tokens, which
/// gives the same values for them, since padding gets no attention.
enum class Padding {
  keep,
  drop,
  attend  ///< the real tokens are returned, but saw all max_tokens positions: three of diffusers' pipelines leave T5's mask out
};
PromptEmbeds encode_prompt(Engine::Impl& engine, const std::string& prompt, int64_t max_tokens, Padding padding, const PlacementPlan& plan,
                           const RunContext& run);

/// Frames of normalised latents, before clamping. Draws "decode" and "decoder_00", … where the model wants them.
struct DecodeSettings {
  double timestep = 0.05, noise_scale = 0.025;
  NoiseSpace noise_space = NoiseSpace::normalised;
  double tone_map = 0;  ///< compression of the latents' tones, after the noise
};
/// Raw latents, on the decoder's device, with the noise that a timestep-conditioned decoder is told of, drawn as `name`; for other decoders without. Then the
/// tone mapping.
at::Tensor noised_for_decoder(const VideoVae& decoder, const at::Tensor& latents, const DecodeSettings& settings, NoiseSource& noise,
                              const std::string& name);
/// With `take`, frames go there as they are finished, in order, and the result is undefined: they are never all held.
at::Tensor decode_stage(Engine::Impl& engine, const at::Tensor& latents, const DecodeSettings& settings, NoiseSource& noise,
                        const PlacementPlan& plan, RunContext& run, const std::function<void(const at::Tensor& frames)>& take = {});

}  // namespace ltxv
