#include "vae/video_vae.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/ranks.h"
#include "base/transfer.h"
#include "nn/timestep.h"
#include "vae/blocks.h"

namespace ltxv {
namespace {

using vae::Block;
using vae::Conv3d;
using vae::ConvOptions;
using vae::Pass;

ConvOptions conv_options(const VaeConfig& config, bool causal) {
  const std::string& mode = config.spatial_padding_mode;
  return {.time = causal ? vae::TimePadding::causal : vae::TimePadding::centred,
          .space = mode == "reflect"     ? vae::SpatialPadding::reflect
                   : mode == "replicate" ? vae::SpatialPadding::replicate
                                         : vae::SpatialPadding::zeros};
}

std::string volume_text(const at::Tensor& x) { return text(x.sizes()); }

}  // namespace

struct VideoVae::Encoder {
  Conv3d conv_in, conv_out;
  std::vector<std::unique_ptr<Block>> blocks;
  at::ScalarType dtype;

  Encoder(const Scope& at, const VaeConfig& c) {
    const ConvOptions conv = conv_options(c, c.encoder_causal);
    conv_in = Conv3d(at / "conv_in", c.in_channels * c.patch_size * c.patch_size, c.encoder_width, conv);
    int64_t width = c.encoder_width;
    for (size_t i = 0; i < c.encoder_blocks.size(); ++i) {
      blocks.push_back(make_encoder_block(at / "down_blocks" / static_cast<int64_t>(i), c.encoder_blocks[i], conv));
      width = c.encoder_blocks[i].out_channels;
    }
    // The extra channel is one log-variance for all means; only the means are used.
    conv_out = Conv3d(at / "conv_out", width, c.latent_channels + 1, conv);
    dtype = conv_out.dtype();
  }
};

struct VideoVae::Decoder {
  Conv3d conv_in, conv_out;
  std::vector<std::unique_ptr<Block>> blocks;
  at::Tensor timestep_scale, last_table;  // f32 scalar; [2,C]
  std::optional<nn::TimestepEmbedder> last_embedder;
  at::ScalarType dtype;

  Decoder(const Scope& at, const VaeConfig& c) {
    const ConvOptions conv = conv_options(c, c.decoder_causal);
    conv_in = Conv3d(at / "conv_in", c.latent_channels, c.decoder_width, conv);
    int64_t width = c.decoder_width;
    for (size_t i = 0; i < c.decoder_blocks.size(); ++i) {
      blocks.push_back(make_decoder_block(at / "up_blocks" / static_cast<int64_t>(i), c.decoder_blocks[i], conv,
                                          c.timestep_conditioning));
      width = c.decoder_blocks[i].out_channels;
    }
    conv_out = Conv3d(at / "conv_out", width, c.out_channels * c.patch_size * c.patch_size, conv);
    dtype = conv_out.dtype();
    if (c.timestep_conditioning) {
      timestep_scale = at.take_as("timestep_scale_multiplier", {}, at::kFloat);
      last_table = at.take("last_scale_shift_table", {2, width});
      last_embedder.emplace(at / "last_time_embedder", 2 * width);
    }
  }
};

VideoVae::VideoVae(const VaeConfig& config, Parameters& parameters, VaeParts parts, VaePath path) : config_(config), path_(path) {
  const Scope at(parameters);
  const int64_t channels = config.latent_channels;
  const auto statistics = [&](const char* name) {
    return at.take_as(std::string("per_channel_statistics.") + name, {channels}, at::kFloat).view({1, channels, 1, 1, 1});
  };
  mean_ = statistics("mean-of-means");
  std_ = statistics("std-of-means");
  LTXV_REQUIRE(BadWeights, (std_ > 0).all().item<bool>(), "tensor 'per_channel_statistics.std-of-means' holds values that are not positive");
  if (parts != VaeParts::decoder) encoder_ = std::make_unique<Encoder>(at / "encoder", config);
  if (parts != VaeParts::encoder) decoder_ = std::make_unique<Decoder>(at / "decoder", config);
  parameters.finish();
}

VideoVae::~VideoVae() = default;
VideoVae::VideoVae(VideoVae&&) noexcept = default;
VideoVae& VideoVae::operator=(VideoVae&&) noexcept = default;

struct EncodeCarry::Impl {
  vae::TimeCarry time;
  bool started = false;
};
EncodeCarry::EncodeCarry() : impl(std::make_unique<Impl>()) {}
EncodeCarry::~EncodeCarry() = default;
EncodeCarry::EncodeCarry(EncodeCarry&&) noexcept = default;
EncodeCarry& EncodeCarry::operator=(EncodeCarry&&) noexcept = default;

at::Tensor VideoVae::encode_next(const at::Tensor& pixels, EncodeCarry& carry, RunContext& run, int64_t largest_volume) const {
  LTXV_ASSERT(config_.encoder_causal, "an encoder that looks ahead cannot go through a clip in pieces");
  return normalise(encode_pieces(pixels, *carry.impl, /*is_last=*/false, run, largest_volume));
}

at::Tensor VideoVae::encode_pieces(const at::Tensor& pixels, EncodeCarry::Impl& carry, bool is_last, RunContext& run,
                                   int64_t largest_volume) const {
  check_pixels(pixels, carry.started);
  // The first volume is the widest; latents stand for so many frames each.
  const int64_t temporal = config_.compression.temporal, patch = config_.patch_size * config_.patch_size;
  const int64_t elements = temporal * config_.encoder_width * pixels.size(3) * pixels.size(4) / patch;
  const int64_t most = std::max<int64_t>(1, largest_volume / elements), ahead = carry.started ? 0 : temporal - 1;
  const Split latents{(pixels.size(2) + ahead) / temporal, ((pixels.size(2) + ahead) / temporal + most - 1) / most};
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < latents.count; ++i) {
    const int64_t begin = std::max<int64_t>(0, latents.begin(i) * temporal - ahead), end = latents.begin(i + 1) * temporal - ahead;
    carry.time.start_piece(is_last && i + 1 == latents.count);
    parts.push_back(encode_volume(pixels.narrow(2, begin, end - begin), &carry.time, run));
    carry.started = true;
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 2);
}

at::Tensor VideoVae::encode_raw(const at::Tensor& pixels, RunContext& run, int64_t largest_volume) const {
  if (config_.encoder_causal) {
    EncodeCarry carry;
    return encode_pieces(pixels, *carry.impl, /*is_last=*/true, run, largest_volume);
  }
  check_pixels(pixels, false);
  return encode_volume(pixels, nullptr, run);
}

void VideoVae::check_pixels(const at::Tensor& pixels, bool is_later_piece) const {
  LTXV_CHECK(encoder_, "this VAE was loaded without its encoder");
  LTXV_CHECK(pixels.dim() == 5 && pixels.size(0) >= 1 && pixels.size(1) == config_.in_channels, "pixels have the shape ",
             volume_text(pixels), ", [B, ", config_.in_channels, ", T, H, W] is needed");
  // Refuses sizes off the grid; a later piece has no frame that stands alone.
  latent_shape({pixels.size(2) + (is_later_piece ? 1 : 0), pixels.size(3), pixels.size(4)}, config_.compression);
}

at::Tensor VideoVae::encode_volume(const at::Tensor& pixels, vae::TimeCarry* carry, RunContext& run) const {
  ops::Scratch scratch(device());
  Pass pass;
  pass.run = &run;
  pass.scratch = &scratch;
  pass.path = path_;
  pass.carry = carry;
  run.check_cancelled();
  at::Tensor x = vae::patchify(to_device(pixels, device()).to(encoder_->dtype), config_.patch_size);
  if (path_ == VaePath::fast) x = scratch.as_volume(x);
  x = encoder_->conv_in(x, pass);
  for (const auto& block : encoder_->blocks) {
    run.check_cancelled();
    x = (*block)(std::move(x), pass);
  }
  x = encoder_->conv_out.normed(x, {}, {}, {}, pass);
  return x.narrow(1, 0, config_.latent_channels).to(at::kFloat).contiguous();
}

at::Tensor VideoVae::encode(const at::Tensor& pixels, RunContext& run, int64_t largest_volume) const {
  return normalise(encode_raw(pixels, run, largest_volume));
}

at::Tensor VideoVae::decode_raw(const at::Tensor& raw_latents, const DecodeOptions& options, RunContext& run) const {
  LTXV_CHECK(decoder_, "this VAE was loaded without its decoder");
  LTXV_CHECK(raw_latents.dim() == 5 && raw_latents.size(1) == config_.latent_channels && raw_latents.numel() > 0,
             "latents have the shape ", volume_text(raw_latents), ", [B, ", config_.latent_channels, ", T, H, W] is needed");
  LTXV_CHECK(options.timestep >= 0 && options.timestep <= 1, "decode timestep is ", options.timestep, ", a number from 0 to 1 is needed");
  ops::Scratch scratch(device());
  Pass pass;
  pass.run = &run;
  pass.scratch = &scratch;
  pass.path = path_;
  pass.injected_noise = &options.injected_noise;
  if (config_.timestep_conditioning) {
    pass.timestep = at::full({raw_latents.size(0)}, options.timestep, mean_.options()) * decoder_->timestep_scale;
  }
  run.check_cancelled();
  at::Tensor x = to_device(raw_latents, device()).to(decoder_->dtype);
  if (path_ == VaePath::fast) x = scratch.as_volume(x);
  at::Tensor shift, scale;
  if (decoder_->last_embedder) {
    const at::Tensor embedding = (*decoder_->last_embedder)(pass.timestep).view({-1, 2, decoder_->last_table.size(1)});
    const at::Tensor rows = (decoder_->last_table + embedding).to(at::kFloat);
    shift = rows.select(1, 0).contiguous();
    scale = rows.select(1, 1).contiguous();
  }
  const PixelShape pixels = pixel_shape({raw_latents.size(2), raw_latents.size(3), raw_latents.size(4)}, config_.compression);
  const auto frames_of = [&](int64_t count) {
    return at::empty({raw_latents.size(0), config_.out_channels, count, pixels.height, pixels.width}, at::kFloat);
  };
  const at::Tensor frames = options.take ? at::Tensor() : frames_of(pixels.frames);
  int64_t finished = 0;
  // Volumes of the last layer in the order of pixels; they leave the device as they are and are widened on the host.
  const auto finish = [&](const at::Tensor& patches) {
    const at::Tensor part = vae::unpatchify(patches, config_.patch_size), sum = part.sum(at::kFloat);
    const at::Tensor into = options.take ? frames_of(part.size(2)) : frames.narrow(2, finished, part.size(2));
    for (int64_t b = 0; b < part.size(0); ++b)
      for (int64_t c = 0; c < part.size(1); ++c) to_host(part[b][c], into[b][c]);
    finished += part.size(2);
    LTXV_REQUIRE(NumericError, std::isfinite(sum.item<float>()), "the decoded frames hold NaN or Inf");
    if (options.take) options.take(into);
  };
  struct Step {
    const Block* block;
    size_t index;
    at::Tensor embedding;
  };
  std::vector<Step> steps;
  for (const auto& block : decoder_->blocks) {
    const at::Tensor embedding = block->embedding(pass);
    for (size_t i = 0; i < block->step_count(); ++i) steps.push_back({block.get(), i, embedding});
  }
  const size_t stage_count = steps.size() + 2;
  const auto run_stage = [&](size_t i, at::Tensor y) {
    run.check_cancelled();
    if (i == 0) return decoder_->conv_in(y, pass);
    if (i > steps.size()) return decoder_->conv_out.normed(y, shift, scale, {}, pass);
    const Step& step = steps[i - 1];
    return step.block->step(step.index, std::move(y), step.embedding, pass);
  };
  const vae::PiecePlan plan = vae::plan_pieces(config_, {x.size(2), x.size(3), x.size(4)}, options.largest_volume);
  for (size_t i = 0; i < plan.from; ++i) x = run_stage(i, std::move(x));

  // The rest goes depth first: what a piece becomes behind one stage goes through all later ones before the next piece.
  std::vector<vae::TimeCarry> carries(stage_count);
  const std::function<void(size_t, at::Tensor, bool)> run_pieces = [&](size_t i, at::Tensor all, bool is_last) {
    if (i == stage_count) return finish(all);
    const int64_t most = plan.frame_counts[i - plan.from];
    const Split pieces{all.size(2), (all.size(2) + most - 1) / most};
    for (int64_t p = 0; p < pieces.count; ++p) {
      at::Tensor piece;
      if (pieces.count == 1) {
        piece = std::move(all);
      } else {  // a copy: stages may overwrite what they are given, and it is needed dense
        piece = scratch.take_volume(all.size(0), all.size(1), pieces.size(p), all.size(3), all.size(4), all.scalar_type());
        piece.copy_(all.narrow(2, pieces.begin(p), pieces.size(p)));
      }
      const bool ends = is_last && p + 1 == pieces.count;
      carries[i].start_piece(ends);
      pass.carry = &carries[i];
      at::Tensor y = run_stage(i, std::move(piece));
      if (y.defined()) run_pieces(i + 1, std::move(y), ends);
    }
  };
  run_pieces(plan.from, std::move(x), true);
  LTXV_ASSERT(finished == pixels.frames, finished, " of ", pixels.frames, " frames were decoded");
  return frames;
}

at::Tensor VideoVae::decode(const at::Tensor& latents, const DecodeOptions& options, RunContext& run) const {
  LTXV_CHECK(latents.dim() == 5 && latents.size(1) == config_.latent_channels, "latents have the shape ", volume_text(latents), ", [B, ",
             config_.latent_channels, ", T, H, W] is needed");
  return decode_raw(denormalise(latents), options, run);
}

at::Tensor VideoVae::normalise(const at::Tensor& raw_latents) const {
  return (to_device(raw_latents, device()).to(at::kFloat) - mean_) * config_.scaling_factor / std_;
}

at::Tensor VideoVae::denormalise(const at::Tensor& latents) const {
  return to_device(latents, device()).to(at::kFloat) * std_ / config_.scaling_factor + mean_;
}

std::vector<std::array<int64_t, 2>> VideoVae::injected_noise_shapes(int64_t latent_height, int64_t latent_width) const {
  return ltxv::injected_noise_shapes(config_, latent_height, latent_width);
}

}  // namespace ltxv
