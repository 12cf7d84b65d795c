#include "pipeline/window_media.h"

#include <algorithm>

#include "base/transfer.h"
#include "diffusion/mask.h"
#include "pipeline/masked_media.h"
#include "pipeline/media_io.h"

namespace ltxv {
namespace {

void check_length(const char* what, const std::string& path, int64_t have, const ResolvedRequest& pass, const char* otherwise = "") {
  LTXV_CHECK(have >= pass.asked.frames, what, path, ": ", have, " usable frames, this run needs ", pass.asked.frames, otherwise);
}

}  // namespace

at::Tensor ClipLatents::part(Engine::Impl& engine, int64_t begin, int64_t end, const PlacementPlan& plan, RunContext& run) {
  const int64_t temporal = engine.spec.vae.compression.temporal;
  if (end > held_end_) {
    const bool in_pieces = engine.spec.vae.encoder_causal;
    const int64_t stop = in_pieces ? end : latent_frames_;
    const int64_t first = held_end_ == 0 ? 0 : (held_end_ - 1) * temporal + 1;
    const auto pixels = read_({first, (stop - 1) * temporal + 1 - first});
    run.report(Stage::encode, 0, 1);
    const auto encoder = engine.weights.vae_encoder(plan);
    const auto fresh = to_host(in_pieces ? encoder->encode_next(pixels, carry_, run, plan.vae_volume_elements)
                                         : encoder->encode(pixels, run, plan.vae_volume_elements));
    engine.weights.stage_done(Component::vae_encoder, plan);
    run.report(Stage::encode, 1, 1);
    held_ = held_.defined() ? at::cat({held_, fresh}, 2) : fresh;
    held_end_ = stop;
  }
  held_ = held_.narrow(2, begin - held_begin_, held_end_ - begin).contiguous();
  held_begin_ = begin;
  return held_.narrow(2, 0, end - begin);
}

WindowMedia::WindowMedia(Engine::Impl& engine, const ResolvedRequest& pass, const RunContext& run) : engine_(engine), pass_(pass) {
  const Request& r = pass.request;
  control_downscale_ = open_adaptation(engine, pass, run);
  if (!r.control_path.empty()) {
    const auto sizes = control_sizes(pass, engine.spec.vae.compression, control_downscale_);
    const int64_t count = files_[r.control_path].count_frames();
    control_is_still_ = count == 1;
    if (!control_is_still_) check_length("control ", r.control_path, count, pass, ", or one picture");
    control_.emplace([this, sizes](const FrameRange& range) { return read_control_frames(files_, sizes.request.control_path, sizes, range); },
                     control_is_still_ ? 1 : pass.latent.frames);
  }
  if (r.input_video_path.empty()) return;
  if (!r.mask_path.empty()) check_mask_file(files_, r.mask_path, pass);
  video_latents_ = read_video_latents(files_, pass, engine.spec);
  if (video_latents_.defined()) return;
  if (r.outpaint) {
    read_fitted_inside(files_, r.input_video_path, pass, {0, 1});  // refuses a clip that leaves nothing to do
  } else {
    check_length("", r.input_video_path, files_[r.input_video_path].count_frames(), pass);
  }
  video_.emplace([this](const FrameRange& range) { return read_pass_frames(files_, pass_, range); }, pass.latent.frames);
}

at::Tensor WindowMedia::kept_part(const Window& window) {
  // The frames of one latent frame more in front, since the first one of a mask stands for one frame only.
  const Compression& grid = engine_.spec.vae.compression;
  const int64_t first = std::max<int64_t>(window.begin - 1, 0);
  const auto mask = read_pass_mask(files_, pass_, {first * grid.temporal, (window.end - 1 - first) * grid.temporal + 1});
  return kept_strength(mask, grid, pass_.request.mask_blend).narrow(2, window.begin - first, window.end - window.begin);
}

LatentShape WindowMedia::control_shape(const Window& window, int64_t shown) const {
  if (!control_) return {};
  const int64_t frames = control_is_still_ ? 1 : std::max<int64_t>(window.end - window.begin - shown, 0);
  return {frames, pass_.latent.height / control_downscale_, pass_.latent.width / control_downscale_};
}

void WindowMedia::fill(WindowContext& context, const Window& window, int64_t shown, const PlacementPlan& plan, RunContext& run) {
  at::Tensor video;
  if (video_latents_.defined()) video = video_latents_.narrow(2, window.begin, window.end - window.begin);
  if (video_) video = video_->part(engine_, window.begin, window.end, plan, run);
  if (video.defined() && keeps_parts(pass_.request)) {
    context.kept = kept_part(window);
    context.kept_latents = video;
    context.start = context.start.defined() ? kept_over(video, context.start, context.kept) : video;
  } else if (video.defined()) {
    context.start = video;
  }
  if (control_shape(window, shown).frames == 0) return;
  context.guide_strength = pass_.request.control_strength;
  context.guide_downscale = control_downscale_;
  if (control_is_still_) {  // every window sees it, at its first frame
    context.guide = control_->part(engine_, 0, 1, plan, run);
  } else {
    // What `previous` shows already is left out, as in the reference.
    context.guide_begin = shown;
    context.guide = control_->part(engine_, window.begin, window.end, plan, run).narrow(2, shown, window.end - window.begin - shown);
  }
}

}  // namespace ltxv
