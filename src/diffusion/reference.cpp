#include "diffusion/reference.h"

namespace ltxv {

void add_reference(StartState& start, const Reference& reference, const Compression& compression, FrameRule rule, NoiseSource& noise) {
  auto latents = reference.latents;
  // The trainer draws nothing for a reference; a draw here would shift every later one of the same seed.
  if (reference.strength < 1) latents = at::lerp(noise.draw("control", latents.sizes()), latents, reference.strength);
  const auto tokens = to_tokens(latents);
  auto coordinates = grid_coordinates({latents.size(2), latents.size(3), latents.size(4)}, compression, rule);
  coordinates.narrow(0, 1, 2).mul_(reference.downscale);

  if (!start.strength.defined()) start.strength = at::zeros({start.tokens.size(1)}, at::kFloat);
  start.strength = at::cat({at::full({tokens.size(1)}, reference.strength, at::kFloat), start.strength});
  start.coordinates = at::cat({coordinates, start.coordinates}, 1);
  start.tokens = at::cat({tokens, start.tokens}, 1);
  start.extra_tokens += tokens.size(1);
}

}  // namespace ltxv
