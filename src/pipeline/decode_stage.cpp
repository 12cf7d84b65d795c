#include "pipeline/engine_impl.h"

namespace ltxv {

at::Tensor decode_stage(Engine::Impl& engine, const at::Tensor& latents, double timestep, double noise_scale, NoiseSource& noise,
                        const PlacementPlan& plan, RunContext& run) {
  LTXV_CHECK(timestep >= 0 && timestep <= 1, "decode timestep ", timestep, " is not between 0 and 1");
  LTXV_CHECK(noise_scale >= 0 && noise_scale <= 1, "decode noise scale ", noise_scale, " is not between 0 and 1");
  run.report(Stage::decode, 0, 1);
  auto input = latents;
  // A decoder that is told a noise level is given that noise. Mixed into normalised latents, as the official code does; diffusers
  // mixes into raw ones, which differs by about 0.03 in the pixels of a small model.
  if (engine.spec.vae.timestep_conditioning && noise_scale > 0)
    input = latents * (1.0 - noise_scale) + noise.draw("decode", latents.sizes()) * noise_scale;

  int64_t map = 0;
  const DecodeOptions options{.timestep = timestep, .injected_noise = [&](int64_t height, int64_t width) {
                                return noise.draw(indexed_name("decoder", map++), {height, width});
                              }};
  const auto decoder = engine.weights.vae_decoder(plan.types[static_cast<int>(Component::vae_decoder)]);
  const auto frames = decoder->decode(input, options, run);
  LTXV_REQUIRE(NumericError, at::isfinite(frames.sum()).item<bool>(), "the decoded frames hold NaN or Inf");
  run.report(Stage::decode, 1, 1);
  return frames;
}

}  // namespace ltxv
