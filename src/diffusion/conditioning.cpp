#include "diffusion/conditioning.h"

#include "base/error.h"

namespace ltxv {
namespace {

LatentShape shape_of(const at::Tensor& latents) { return {latents.size(2), latents.size(3), latents.size(4)}; }

// Mixes `latents` into `volume` from latent frame `first` on.
void mix(at::Tensor& volume, at::Tensor& strength, const at::Tensor& latents, int64_t first, double amount) {
  LTXV_CHECK(first + latents.size(2) <= volume.size(2), "a condition reaches latent frame ", first + latents.size(2) - 1,
             ", but the video ends at latent frame ", volume.size(2) - 1);
  auto target = volume.narrow(2, first, latents.size(2));
  target.copy_(at::lerp(target, latents, amount));
  strength.narrow(2, first, latents.size(2)).fill_(amount);
}

}  // namespace

StartState apply_conditions(const StartVolume& start, const std::vector<EncodedCondition>& conditions, const Compression& compression,
                            FrameRule rule, NoiseSource& noise) {
  const LatentShape shape = shape_of(start.latents);
  if (conditions.empty() && !start.strength.defined()) return {to_tokens(start.latents), {}, grid_coordinates(shape, compression, rule), 0};

  auto volume = start.latents.clone();
  auto strength = start.strength.defined() ? start.strength.clone()
                                           : at::zeros({1, 1, shape.frames, shape.height, shape.width}, at::kFloat);
  std::vector<at::Tensor> tokens, strengths, coordinates;
  StartState out;
  for (size_t i = 0; i < conditions.size(); ++i) {
    const EncodedCondition& c = conditions[i];
    auto latents = c.latents;
    LTXV_CHECK(latents.size(3) == shape.height && latents.size(4) == shape.width, "condition ", i, " has latents ",
               latents.sizes(), ", which do not fit the video's ", start.latents.sizes());
    if (c.frame_index == 0) {
      mix(volume, strength, latents, 0, c.strength);
      continue;
    }
    if (latents.size(2) > kPrefixLatents) {
      mix(volume, strength, latents.narrow(2, kPrefixLatents, latents.size(2) - kPrefixLatents),
          c.frame_index / compression.temporal + kPrefixLatents, c.strength);
      latents = latents.narrow(2, 0, kPrefixLatents);
    }
    // Counted over the items that draw, so that an image at frame 0 does not shift the names.
    const auto drawn = noise.draw(indexed_name("condition", static_cast<int64_t>(tokens.size())), latents.sizes());
    tokens.push_back(to_tokens(at::lerp(drawn, latents, c.strength)));
    coordinates.push_back(grid_coordinates(shape_of(latents), compression, rule, c.frame_index));
    strengths.push_back(at::full({tokens.back().size(1)}, c.strength, at::kFloat));
    out.extra_tokens += tokens.back().size(1);
  }
  tokens.push_back(to_tokens(volume));
  coordinates.push_back(grid_coordinates(shape, compression, rule));
  strengths.push_back(strength.flatten());
  out.tokens = at::cat(tokens, 1);
  out.strength = at::cat(strengths);
  out.coordinates = at::cat(coordinates, 1);
  return out;
}

}  // namespace ltxv
