#include "diffusion/windows.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace ltxv {

std::vector<Window> split_into_windows(int64_t latent_frames, int64_t size, int64_t overlap) {
  LTXV_ASSERT(latent_frames >= 1 && size >= 1 && overlap >= 0, "windows of no length");
  const int64_t stride = std::max<int64_t>(size - overlap, 1);
  std::vector<Window> windows;
  for (int64_t begin = 0;; begin += stride) {
    windows.push_back({begin, std::min(begin + size, latent_frames)});
    if (windows.back().end == latent_frames) return windows;
  }
}

WindowTokens window_tokens(const LatentShape& own, int64_t channels, const WindowContext& context, const Compression& compression) {
  const auto zeros = at::zeros({1, channels, own.frames, own.height, own.width}, at::kFloat);
  auto own_clean = context.kept_latents.defined() ? context.kept_latents.clone() : zeros;
  auto own_freedom = context.kept.defined() ? 1 - context.kept : at::ones({1, 1, own.frames, own.height, own.width}, at::kFloat);
  if (context.first_image.defined()) {
    const int64_t count = context.first_image.size(2);
    own_clean.narrow(2, 0, count).copy_(context.first_image);
    own_freedom.narrow(2, 0, count).fill_(1 - context.first_strength);
  }
  std::vector<at::Tensor> clean = {to_tokens(own_clean)}, freedom = {to_tokens(own_freedom)};
  std::vector<at::Tensor> start = {to_tokens(context.start.defined() ? context.start : zeros)};
  std::vector<at::Tensor> coordinates = {grid_coordinates(own, compression, FrameRule::causal)};
  LatentShape all = own;
  const auto append = [&](const at::Tensor& latents, double strength, FrameRule rule, int64_t frame_offset) {
    const LatentShape shape{latents.size(2), latents.size(3), latents.size(4)};
    clean.push_back(to_tokens(latents));
    start.push_back(clean.back());
    freedom.push_back(at::full({1, shape.token_count(), 1}, 1 - strength, at::kFloat));
    coordinates.push_back(grid_coordinates(shape, compression, rule, frame_offset));
    all.frames += shape.frames;
  };
  // `previous` lies where the window's first latents lie.
  if (context.previous.defined() && context.previous_strength > 0) append(context.previous, context.previous_strength, FrameRule::causal, 0);
  if (context.guide.defined() && context.guide_strength > 0) {
    // Behind the window's first latent frame, which stands for one frame only, every one stands for several.
    const bool from_start = context.guide_begin == 0;
    append(context.guide, context.guide_strength, from_start ? FrameRule::causal : FrameRule::plain,
           from_start ? 0 : 1 + (context.guide_begin - 1) * compression.temporal);
    coordinates.back().narrow(0, 1, 2).mul_(context.guide_downscale);
  }
  for (const auto& keyframe : context.keyframes) append(keyframe.latents, keyframe.strength, FrameRule::causal, keyframe.frame);
  if (context.reference.defined()) append(context.reference, 1, FrameRule::plain, -compression.temporal);
  if (context.guide.defined() && context.guide_downscale > 1) all.frames = 0;
  return {.clean = at::cat(clean, 1),
          .start = context.start.defined() ? at::cat(start, 1) : at::Tensor(),
          .freedom = at::cat(freedom, 1),
          .coordinates = at::cat(coordinates, 1),
          .shape = all};
}

at::Tensor blend_kept(const at::Tensor& x, const WindowTokens& window) {
  return x * window.freedom + window.clean * (1 - window.freedom);
}

at::Tensor ancestral_step(const at::Tensor& x, const at::Tensor& velocity, float sigma, float sigma_next, double eta,
                          const at::Tensor& noise) {
  const auto clean = x - velocity * sigma;
  if (sigma_next <= 0) return clean;
  // First down to a lower level than the next, then up again with fresh noise, so that the variance is that of the next level.
  const float down = sigma_next * (1.0f + (sigma_next / sigma - 1.0f) * static_cast<float>(eta));
  const float ratio = down / sigma, rescale = (1.0f - sigma_next) / (1.0f - down);
  const auto lower = x * ratio + clean * (1.0f - ratio);
  if (!noise.defined()) return lower;
  const float variance = sigma_next * sigma_next - down * down * rescale * rescale;
  return lower * rescale + noise * std::sqrt(std::max(variance, 0.0f));
}

at::Tensor join_windows(const at::Tensor& tail, const at::Tensor& next, int64_t overlap, int64_t shortest_fade) {
  if (overlap < shortest_fade) return at::cat({tail, next}, 2);
  const auto weight = at::linspace(1, 0, overlap + 2, at::kFloat).narrow(0, 1, overlap).view({1, 1, overlap, 1, 1});
  const int64_t kept = tail.size(2) - overlap;
  const auto faded = tail.narrow(2, kept, overlap) * weight + next.narrow(2, 0, overlap) * (1 - weight);
  return at::cat({tail.narrow(2, 0, kept), faded, next.narrow(2, overlap, next.size(2) - overlap)}, 2);
}

std::vector<std::string> split_prompts(const std::string& prompts) {
  constexpr const char* kBlank = " \t\r\n\v\f";
  std::vector<std::string> parts;
  for (size_t at = 0; at <= prompts.size();) {
    const size_t end = std::min(prompts.find('|', at), prompts.size());
    const std::string part = prompts.substr(at, end - at);
    const size_t first = part.find_first_not_of(kBlank), last = part.find_last_not_of(kBlank);
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
    at = end + 1;
  }
  return parts;
}

}  // namespace ltxv
