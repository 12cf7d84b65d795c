#pragma once
// The stages between the text encoder and the decoder; generate() calls them in order.
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <c10/core/Event.h>

#include "diffusion/conditioning.h"
#include "diffusion/sampler.h"
#include "pipeline/engine_impl.h"
#include "pipeline/media_frames.h"
#include "pipeline/prediction_graphs.h"
#include "transformer/transformer_ranks.h"

namespace ltxv {

/// What a run reads from files beside the model: all of it before any heavy work.
struct RunMedia {
  std::vector<at::Tensor> conditions;  ///< frames of each condition, f32 [1,3,T,H,W], at the computed size
  at::Tensor video_pixels, video_latents;  ///< what the pass starts from instead of pure noise; both beside a mask in a second pass,
                                           ///< where the pixels are what the mask keeps
  at::Tensor control;                      ///< frames of the control clip, if there is one
  int64_t control_downscale = 1;           ///< how many times smaller than the video they are
  at::Tensor mask;  ///< of that video, f32 [1,1,T,H,W] at the computed size, 1 = generated anew; undefined: all of it
};

/// Errors: IoError, InvalidArgument, BadWeights naming the file.
RunMedia read_media(MediaFiles& files, const ResolvedRequest& resolved, const ModelSpec& spec);

/// Latents that an input video's file holds at the computed shape; undefined where it holds frames. Errors: InvalidArgument.
at::Tensor read_video_latents(MediaFiles& files, const ResolvedRequest& resolved, const ModelSpec& spec);

/// Where latent frames of this run lie in time.
FrameRule frame_rule(const ResolvedRequest& resolved, const ModelSpec& spec);

/// Opens the LoRAs and reads the control clip: cropped to the video's aspect, and smaller where a LoRA says so.
/// Errors: as WeightStore::open_loras and read_condition; InvalidArgument for a clip shorter than the video (a still may be), or a
///         size off the coarser grid.
void read_adaptation(Engine::Impl& engine, MediaFiles& files, const ResolvedRequest& resolved, RunMedia& media, const RunContext& run);

/// The same in two halves: opens the LoRAs and says how many times smaller than the video the control clip is; and the request whose
/// sizes are those of the control clip.
int64_t open_adaptation(Engine::Impl& engine, const ResolvedRequest& resolved, const RunContext& run);
ResolvedRequest control_sizes(const ResolvedRequest& resolved, const Compression& compression, int64_t downscale);

/// Puts the control clip in front of the tokens of a run. Does nothing without one.
void add_control(Engine::Impl& engine, const ResolvedRequest& resolved, const RunMedia& media, StartState& start, NoiseSource& noise,
                 const PlacementPlan& plan, RunContext& run);

/// Noise, mixed with the input video and the conditions, behind the control clip. Draws "initial", "condition_00", … and "control".
StartState start_stage(Engine::Impl& engine, const ResolvedRequest& resolved, const RunMedia& media, NoiseSource& noise,
                       const PlacementPlan& plan, RunContext& run);

/// Embeddings from the file, or where `file` is empty of the prompt, with the request's text settings.
/// Errors: as encode_prompt and load_prompt_embeds.
PromptEmbeds prompt_embeds(Engine::Impl& engine, const std::string& prompt, const std::string& file, const Request& request,
                           const PlacementPlan& plan, const RunContext& run);

/// Latents of one picture or clip, as a stage of its own: reports, and lets go of the encoder.
at::Tensor encode_media(Engine::Impl& engine, const at::Tensor& pixels, const PlacementPlan& plan, RunContext& run);

/// True when some step makes a pass with the negative prompt.
bool needs_negative(const ResolvedRequest& resolved);
/// Predictions of the step that makes most of them.
int64_t most_predictions(const ResolvedRequest& resolved);

struct Prompts {
  PromptEmbeds positive, negative;  ///< negative only where needs_negative()
};

/// One prediction: where the sample stands, on the transformer's device; the noise level of each token ([1] or [N]), on the host; and
/// which step it is.
struct Sample {
  const at::Tensor &tokens, &sigmas;
  int64_t step = 0;
};
/// The transformer with everything that stays the same over the steps of a run. Shapes: coordinates i64 [3,N].
class Predictor {
 public:
  Predictor(Engine::Impl& engine, const at::Tensor& coordinates, const Prompts& prompts, const ResolvedRequest& resolved,
            const PlacementPlan& plan);
  ~Predictor();
  /// All passes of one step in one call, negative, positive, perturbed, and what guidance is to make of them. The host does not wait.
  ops::GuidanceTerms predict(const Sample& sample, const RunContext& run);
  at::Device device() const { return transformer_->device(); }

 private:
  /// Gives every device of the engine its part.
  void share(const at::Tensor& positions, const PlacementPlan& plan);
  /// One row for each pass; `negative`: which prompt it sees.
  at::Tensor velocities(const Sample& sample, const std::vector<bool>& negative, const Perturbation* perturbation, const RunContext& run);

  Engine::Impl& engine_;
  const ResolvedRequest& resolved_;
  std::shared_ptr<const Transformer> transformer_;
  RopeTable rope_;
  PromptContext positive_, negative_;
  std::shared_ptr<PredictionGraphs> graphs_;  ///< null: predictions are not recorded
  PredictionGraphs::Lease lease_;
  std::deque<PoolStream> streams_;            ///< of the devices beyond the first
  std::unique_ptr<TransformerRanks> ranks_;   ///< where several devices compute, in place of tables and prompts here
};

/// Lets the host prepare steps while the device computes earlier ones, but not more than two of them, so that progress means something
/// and a cancelled run ends soon; and looks at each step's result for NaN and Inf once it is there.
class StepWatch {
 public:
  /// `where` ends the message: " of window 2".
  StepWatch(int64_t step_count, std::string where = "") : step_count_(step_count), where_(std::move(where)) {}
  /// The tokens after step `step`, counted from 1. Errors: NumericError naming this step or an earlier one.
  void done(int64_t step, const at::Tensor& tokens);
  /// Waits for the steps that are left. Errors: as done().
  void finish();

 private:
  struct Pending {
    int64_t step;
    at::Tensor sum;  // f32 [], page-locked where the device writes it
    std::optional<c10::Event> written;
  };
  void check_first();

  int64_t step_count_;
  std::string where_;
  std::deque<Pending> pending_;
};

/// Runs every step that `state` has left. Draws "image_step_00", … and "stochastic_00", ….
/// Shapes: coordinates i64 [3,N].   Errors: NumericError naming the step, Cancelled.
void denoise_stage(Engine::Impl& engine, SamplerState& state, const at::Tensor& coordinates, const Prompts& prompts,
                   const ResolvedRequest& resolved, NoiseSource& noise, const PlacementPlan& plan, RunContext& run);

/// Normalised latents of the first pass -> those that the second one starts from: through every upsampler of the model, then `adain`
/// of the way to the first pass's statistics.   Shapes: f32 [1,C,T,H,W] -> [1,C,T',H',W'].   Errors: NumericError, Cancelled.
/// Source: LTX-Video pipeline_ltx_video.py, LTXMultiScalePipeline.
at::Tensor upscale_stage(Engine::Impl& engine, const at::Tensor& latents, double adain, const PlacementPlan& plan, RunContext& run);

}  // namespace ltxv
