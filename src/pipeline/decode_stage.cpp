#include "base/transfer.h"
#include "diffusion/latent_filters.h"
#include "pipeline/engine_impl.h"

namespace ltxv {

at::Tensor noised_for_decoder(const VideoVae& decoder, const at::Tensor& host_latents, const DecodeSettings& settings, NoiseSource& noise,
                              const std::string& name) {
  const at::Tensor latents = to_device(host_latents, decoder.device());
  const double scale = settings.noise_scale;
  const auto toned = [&](const at::Tensor& l) { return settings.tone_map > 0 ? compress_tones(l, settings.tone_map) : l; };
  if (!decoder.config().timestep_conditioning || scale == 0) return decoder.denormalise(toned(latents));
  // Mixed into normalised latents by the official code; diffusers mixes it into raw ones, which differs by about 0.03 in the pixels
  // of a small model.
  const auto drawn = to_device(noise.draw(name, latents.sizes()), latents.device()) * scale;
  if (settings.noise_space == NoiseSpace::normalised) return decoder.denormalise(toned(latents * (1.0 - scale) + drawn));
  const auto mixed = decoder.denormalise(latents) * (1.0 - scale) + drawn;
  return settings.tone_map > 0 ? decoder.denormalise(toned(decoder.normalise(mixed))) : mixed;
}

at::Tensor decode_stage(Engine::Impl& engine, const at::Tensor& latents, const DecodeSettings& settings, NoiseSource& noise,
                        const PlacementPlan& plan, RunContext& run, const std::function<void(const at::Tensor& frames)>& take) {
  const double timestep = settings.timestep, noise_scale = settings.noise_scale;
  LTXV_CHECK(timestep >= 0 && timestep <= 1, "decode timestep ", timestep, " is not between 0 and 1");
  LTXV_CHECK(noise_scale >= 0 && noise_scale <= 1, "decode noise scale ", noise_scale, " is not between 0 and 1");
  run.report(Stage::decode, 0, 1);
  const auto decoder = engine.weights.vae_decoder(plan);
  const auto raw = noised_for_decoder(*decoder, latents, settings, noise, "decode");
  int64_t map = 0, left = pixel_shape({latents.size(2), latents.size(3), latents.size(4)}, engine.spec.vae.compression).frames;
  // The last frames are decoded before they are handed on: whoever takes them reports work of a later stage.
  const std::function<void(const at::Tensor&)> hand_on = [&](const at::Tensor& part) {
    left -= part.size(2);
    if (left == 0) run.report(Stage::decode, 1, 1);
    take(part);
  };
  const DecodeOptions options{.timestep = timestep, .injected_noise = [&](int64_t height, int64_t width) {
                                return noise.draw(indexed_name("decoder", map++), {height, width});
                              },
                              .largest_volume = plan.vae_volume_elements,
                              .take = take ? hand_on : nullptr};
  const auto frames = decoder->decode_raw(raw, options, run);
  if (!take) run.report(Stage::decode, 1, 1);
  return frames;
}

}  // namespace ltxv
