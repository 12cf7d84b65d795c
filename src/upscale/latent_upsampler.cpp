#include "upscale/latent_upsampler.h"

#include "base/transfer.h"

namespace ltxv {
namespace {

constexpr double kGroupNormEps = 1e-5;

// Frames into the batch, [B,C,T,H,W] -> [B*T,C,H,W], and back.
at::Tensor to_pictures(const at::Tensor& x) { return x.transpose(1, 2).flatten(0, 1); }
at::Tensor to_volume(const at::Tensor& pictures, int64_t batch) { return pictures.unflatten(0, {batch, -1}).transpose(1, 2); }

// Channels (c,t,h,w) become positions; doubling the frames leaves out the first, so that T becomes 2T - 1.
at::Tensor channels_to_positions(const at::Tensor& x, int64_t st, int64_t ss) {
  const auto n = x.sizes();
  const auto y = x.reshape({n[0], n[1] / (st * ss * ss), st, ss, ss, n[2], n[3], n[4]})
                     .permute({0, 1, 5, 2, 6, 3, 7, 4})
                     .reshape({n[0], n[1] / (st * ss * ss), n[2] * st, n[3] * ss, n[4] * ss});
  return y.narrow(2, st - 1, y.size(2) - (st - 1));
}

}  // namespace

LatentUpsampler::LatentUpsampler(const UpsamplerConfig& config, Parameters& parameters) : config_(config) {
  const Scope at(parameters);
  const auto conv = [](const Scope& where, int64_t in, int64_t out, bool volume) {
    const std::vector<int64_t> shape = volume ? std::vector<int64_t>{out, in, 3, 3, 3} : std::vector<int64_t>{out, in, 3, 3};
    return Conv{where.take("weight", shape), where.take("bias", {out})};
  };
  const auto norm = [&](const Scope& where) { return Norm{where.take("weight", {config.width}), where.take("bias", {config.width})}; };
  const bool volumes = !config.per_frame;
  const auto blocks = [&](const char* name) {
    std::vector<Block> list;
    for (int64_t i = 0; i < config.blocks_a_stage; ++i) {
      const Scope block = at / name / i;
      list.push_back({.conv1 = conv(block / "conv1", config.width, config.width, volumes),
                      .conv2 = conv(block / "conv2", config.width, config.width, volumes),
                      .norm1 = norm(block / "norm1"),
                      .norm2 = norm(block / "norm2")});
    }
    return list;
  };
  first_conv_ = conv(at / "initial_conv", config.channels, config.width, volumes);
  first_norm_ = norm(at / "initial_norm");
  blocks_before_ = blocks("res_blocks");
  const int64_t positions = (config.temporal ? 2 : 1) * (config.spatial ? 4 : 1);
  // Height and width alone are enlarged frame by frame even where everything else works on volumes.
  enlarging_conv_ = conv(at / "upsampler" / 0, config.width, config.width * positions, config.temporal);
  blocks_after_ = blocks("post_upsample_res_blocks");
  last_conv_ = conv(at / "final_conv", config.width, config.channels, volumes);
  parameters.finish();
}

at::Tensor LatentUpsampler::convolve(const Conv& conv, const at::Tensor& x) {
  if (conv.weight.dim() == 5) return at::conv3d(x, conv.weight, conv.bias, /*stride=*/1, /*padding=*/1);
  return to_volume(at::conv2d(to_pictures(x), conv.weight, conv.bias, /*stride=*/1, /*padding=*/1), x.size(0));
}

at::Tensor LatentUpsampler::normalise(const Norm& norm, const at::Tensor& x) const {
  if (!config_.per_frame) return at::group_norm(x, kUpsamplerGroups, norm.weight, norm.bias, kGroupNormEps);
  return to_volume(at::group_norm(to_pictures(x), kUpsamplerGroups, norm.weight, norm.bias, kGroupNormEps), x.size(0));
}

at::Tensor LatentUpsampler::run_blocks(const std::vector<Block>& blocks, at::Tensor x, const RunContext& run) const {
  for (const Block& block : blocks) {
    run.check_cancelled();
    const auto h = at::silu(normalise(block.norm1, convolve(block.conv1, x)));
    x = at::silu(normalise(block.norm2, convolve(block.conv2, h)) + x);
  }
  return x;
}

at::Tensor LatentUpsampler::forward(const at::Tensor& raw_latents, const RunContext& run) const {
  LTXV_CHECK(raw_latents.dim() == 5 && raw_latents.size(1) == config_.channels && raw_latents.numel() > 0, "latents have the shape ",
             raw_latents.sizes(), ", [B, ", config_.channels, ", T, H, W] is needed");
  at::Tensor x = to_device(raw_latents, first_conv_.weight.device()).to(first_conv_.weight.scalar_type());
  x = at::silu(normalise(first_norm_, convolve(first_conv_, x)));
  x = run_blocks(blocks_before_, x, run);
  x = channels_to_positions(convolve(enlarging_conv_, x), config_.temporal ? 2 : 1, config_.spatial ? 2 : 1);
  x = run_blocks(blocks_after_, x, run);
  return convolve(last_conv_, x).to(at::kFloat).contiguous();
}

}  // namespace ltxv
