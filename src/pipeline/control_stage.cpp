// What adapts the model to one run: LoRAs, and the control clip that an in-context LoRA follows.
#include "diffusion/reference.h"
#include "pipeline/media_io.h"
#include "pipeline/stages.h"

namespace ltxv {
ResolvedRequest control_sizes(const ResolvedRequest& resolved, const Compression& compression, int64_t downscale) {
  const PixelShape& computed = resolved.computed;
  const int64_t step = compression.spatial * downscale;
  LTXV_CHECK(computed.width % step == 0 && computed.height % step == 0, "control ", resolved.request.control_path,
             ": the LoRA's control clip is ", downscale, " times smaller than the video, so width and height must be multiples of ", step,
             ", not ", computed.width, "x", computed.height);
  ResolvedRequest smaller = resolved;
  for (PixelShape* shape : {&smaller.asked, &smaller.padded, &smaller.computed}) {
    shape->width /= downscale;
    shape->height /= downscale;
  }
  return smaller;
}

int64_t open_adaptation(Engine::Impl& engine, const ResolvedRequest& resolved, const RunContext& run) {
  const Request& r = resolved.request;
  const auto loras = engine.weights.open_loras(r.loras);
  if (loras)
    for (const std::string& remark : loras->remarks()) run.log(LogLevel::warning, remark);
  if (!loras && !r.control_path.empty())
    run.log(LogLevel::warning, "a control clip without its in-context LoRA: the model was not trained to follow it");
  return loras ? loras->reference_downscale() : 1;
}

void read_adaptation(Engine::Impl& engine, MediaFiles& files, const ResolvedRequest& resolved, RunMedia& media, const RunContext& run) {
  media.control_downscale = open_adaptation(engine, resolved, run);
  const std::string& path = resolved.request.control_path;
  if (path.empty()) return;
  media.control = read_control_frames(files, path, control_sizes(resolved, engine.spec.vae.compression, media.control_downscale), all_frames(resolved));
}

void add_control(Engine::Impl& engine, const ResolvedRequest& resolved, const RunMedia& media, StartState& start, NoiseSource& noise,
                 const PlacementPlan& plan, RunContext& run) {
  if (!media.control.defined()) return;
  const auto latents = encode_media(engine, media.control, plan, run);
  add_reference(start,
                {.latents = latents, .downscale = media.control_downscale, .strength = resolved.request.control_strength},
                engine.spec.vae.compression, frame_rule(resolved, engine.spec), noise);
}

}  // namespace ltxv
