// What adapts the model to one run: LoRAs, and the control clip that an in-context LoRA follows.
#include "diffusion/reference.h"
#include "pipeline/media_io.h"
#include "pipeline/stages.h"

namespace ltxv {
namespace {

at::Tensor read_control(const ResolvedRequest& resolved, const Compression& compression, int64_t downscale) {
  const std::string& path = resolved.request.control_path;
  const PixelShape& computed = resolved.computed;
  const int64_t step = compression.spatial * downscale;
  LTXV_CHECK(computed.width % step == 0 && computed.height % step == 0, "control ", path, ": the LoRA's control clip is ", downscale,
             " times smaller than the video, so width and height must be multiples of ", step, ", not ", computed.width,
             "x", computed.height);
  ResolvedRequest smaller = resolved;
  for (PixelShape* shape : {&smaller.asked, &smaller.padded, &smaller.computed}) {
    shape->width /= downscale;
    shape->height /= downscale;
  }
  return read_control_frames(path, smaller);
}

}  // namespace

void read_adaptation(Engine::Impl& engine, const ResolvedRequest& resolved, RunMedia& media, const RunContext& run) {
  const Request& r = resolved.request;
  const auto loras = engine.weights.open_loras(r.loras);
  if (loras) {
    for (const std::string& remark : loras->remarks()) run.log(LogLevel::warning, remark);
    media.control_downscale = loras->reference_downscale();
  }
  if (r.control_path.empty()) return;
  if (!loras) run.log(LogLevel::warning, "a control clip without its in-context LoRA: the model was not trained to follow it");
  media.control = read_control(resolved, engine.spec.vae.compression, media.control_downscale);
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
