#include "base/transfer.h"
#include "diffusion/latent_filters.h"
#include "pipeline/stages.h"

namespace ltxv {

at::Tensor upscale_stage(Engine::Impl& engine, const at::Tensor& latents, double adain, const PlacementPlan& plan, RunContext& run) {
  const auto [mean, deviation] = engine.weights.latent_statistics();
  const double scale = engine.spec.vae.scaling_factor;
  auto raw = latents * deviation / scale + mean;
  std::vector<std::shared_ptr<const LatentUpsampler>> used;  // until the device is done with them
  for (size_t i = 0; i < engine.spec.upsamplers.size(); ++i) {
    run.check_cancelled();
    used.push_back(engine.weights.upsampler(i, plan));
    raw = used.back()->forward(raw, run);
  }
  raw = to_host(raw);
  engine.weights.stage_done(Component::upsampler, plan);
  const auto enlarged = (raw - mean) * scale / deviation;
  LTXV_REQUIRE(NumericError, at::isfinite(enlarged.sum()).item<bool>(), "the enlarged latents hold NaN or Inf");
  return adain > 0 ? match_statistics(enlarged, latents, adain) : enlarged;
}

at::Tensor Engine::upscale(const at::Tensor& latents, double adain, const RunHooks& hooks) {
  const ComputeScope scope(*impl_);
  RunContext run(hooks);
  LTXV_CHECK(!impl_->spec.upsamplers.empty(), "no upscaler: --upscaler names a latent upsampler");
  LTXV_CHECK(adain >= 0 && adain <= 1, "adain ", adain, " is not between 0 and 1");
  LTXV_CHECK(latents.dim() == 5 && latents.size(0) == 1 && latents.size(1) == impl_->spec.vae.latent_channels && latents.numel() > 0,
             "latents [1,", impl_->spec.vae.latent_channels, ",T,H,W] expected, got ", latents.sizes());
  const LatentShape shape = {latents.size(2), latents.size(3), latents.size(4)};
  return upscale_stage(*impl_, latents.to(at::kFloat), adain, impl_->plan(shape, 1), run);
}

}  // namespace ltxv
