#include "vae/vae_config.h"

#include "base/error.h"

namespace ltxv {
namespace {

bool starts_with(const std::string& s, const char* prefix) { return s.rfind(prefix, 0) == 0; }

struct Walk {
  const std::string& where;
  const char* list;      // "encoder_blocks" or "decoder_blocks"
  size_t index = 0;
  std::string name() const { return text(where, ": ", list, "[", index, "]"); }
};

void check_encoder_block(const VaeBlock& b, const Walk& at) {
  const auto s = vae_block_stride(b);
  const int64_t positions = s[0] * s[1] * s[2];
  LTXV_REQUIRE(Unsupported, !b.inject_noise, at.name(), ": inject_noise in an encoder is not supported");
  if (b.kind == "compress_all_res" || b.kind == "compress_space_res" || b.kind == "compress_time_res") {
    LTXV_REQUIRE(BadWeights, b.out_channels % positions == 0 && b.in_channels * positions % b.out_channels == 0, at.name(), ": ",
                 b.kind, " cannot fold ", b.in_channels, " channels times ", positions, " positions into ", b.out_channels);
    return;
  }
  const bool known = b.kind == "res_x" || b.kind == "res_x_y" || b.kind == "compress_all" || b.kind == "compress_space" ||
                     b.kind == "compress_time" || b.kind == "compress_all_x_y";
  LTXV_REQUIRE(Unsupported, known, at.name(), ": unknown encoder block \"", b.kind, "\" (known: res_x, res_x_y, compress_all, ",
               "compress_space, compress_time, compress_all_x_y, compress_all_res, compress_space_res, compress_time_res)");
  LTXV_REQUIRE(BadWeights, b.in_channels == b.out_channels || b.kind == "res_x_y" || b.kind == "compress_all_x_y", at.name(),
               ": ", b.kind, " cannot change the width from ", b.in_channels, " to ", b.out_channels);
}

void check_decoder_block(const VaeBlock& b, const Walk& at) {
  if (b.kind == "res_x") {
    LTXV_REQUIRE(BadWeights, b.in_channels == b.out_channels, at.name(), ": res_x cannot change the width from ", b.in_channels,
                 " to ", b.out_channels);
    return;
  }
  if (b.kind == "res_x_y") {
    // The reference scales the noise by one value per input channel and adds it to the output channels.
    LTXV_REQUIRE(Unsupported, !b.inject_noise, at.name(), ": inject_noise in a block that changes the width is not supported");
    return;
  }
  const bool known = b.kind == "compress_all" || b.kind == "compress_space" || b.kind == "compress_time";
  LTXV_REQUIRE(Unsupported, known, at.name(), ": unknown decoder block \"", b.kind,
               "\" (known: res_x, res_x_y, compress_all, compress_space, compress_time)");
  const auto s = vae_block_stride(b);
  const int64_t positions = s[0] * s[1] * s[2];
  LTXV_REQUIRE(BadWeights, b.in_channels % b.multiplier == 0 && b.out_channels * b.multiplier == b.in_channels, at.name(),
               ": ", b.kind, " with multiplier ", b.multiplier, " cannot turn ", b.in_channels, " channels into ", b.out_channels);
  if (b.residual) {
    LTXV_REQUIRE(BadWeights, positions % b.multiplier == 0 && b.in_channels % positions == 0, at.name(), ": the residual of ",
                 b.kind, " needs a width divisible by ", positions, " and a multiplier that divides ", positions, ", found ",
                 b.in_channels, " and ", b.multiplier);
  }
}

/// Follows the widths through one list and multiplies up its strides.
Compression walk_blocks(const std::vector<VaeBlock>& blocks, int64_t width, int64_t patch_size, Walk at,
                        void (*check)(const VaeBlock&, const Walk&)) {
  Compression c{.spatial = patch_size, .temporal = 1};
  for (; at.index < blocks.size(); ++at.index) {
    const VaeBlock& b = blocks[at.index];
    LTXV_REQUIRE(BadWeights, b.in_channels == width, at.name(), ": takes ", b.in_channels, " channels, but ", width, " arrive");
    LTXV_REQUIRE(BadWeights, b.out_channels >= 1 && b.layer_count >= 1 && b.multiplier >= 1, at.name(), ": ", b.out_channels,
                 " output channels, ", b.layer_count, " layers, multiplier ", b.multiplier, ": each must be at least 1");
    check(b, at);
    const auto s = vae_block_stride(b);
    LTXV_REQUIRE(BadWeights, s[1] * c.spatial <= 1024 && s[0] * c.temporal <= 1024, at.name(), ": compresses beyond 1024");
    c.spatial *= s[1];
    c.temporal *= s[0];
    width = b.out_channels;
  }
  return c;
}

}  // namespace

bool VaeConfig::operator==(const VaeConfig& o) const {
  return in_channels == o.in_channels && out_channels == o.out_channels && latent_channels == o.latent_channels &&
         patch_size == o.patch_size && encoder_width == o.encoder_width && decoder_width == o.decoder_width &&
         encoder_blocks == o.encoder_blocks && decoder_blocks == o.decoder_blocks &&
         timestep_conditioning == o.timestep_conditioning && encoder_causal == o.encoder_causal &&
         decoder_causal == o.decoder_causal && scaling_factor == o.scaling_factor &&
         spatial_padding_mode == o.spatial_padding_mode && compression.spatial == o.compression.spatial &&
         compression.temporal == o.compression.temporal;
}

std::array<int64_t, 3> vae_block_stride(const VaeBlock& block) {
  if (starts_with(block.kind, "compress_all")) return {2, 2, 2};
  if (starts_with(block.kind, "compress_space")) return {1, 2, 2};
  if (starts_with(block.kind, "compress_time")) return {2, 1, 1};
  return {1, 1, 1};
}

std::vector<std::array<int64_t, 2>> injected_noise_shapes(const VaeConfig& config, int64_t latent_height, int64_t latent_width) {
  std::vector<std::array<int64_t, 2>> shapes;
  std::array<int64_t, 2> size = {latent_height, latent_width};
  for (const VaeBlock& b : config.decoder_blocks) {
    const auto s = vae_block_stride(b);
    size = {size[0] * s[1], size[1] * s[2]};
    if (b.inject_noise) shapes.insert(shapes.end(), 2 * b.layer_count, size);
  }
  return shapes;
}

void finish_vae_config(VaeConfig& config, const std::string& where) {
  const Compression down = walk_blocks(config.encoder_blocks, config.encoder_width, config.patch_size,
                                       {where, "encoder_blocks"}, check_encoder_block);
  const Compression up = walk_blocks(config.decoder_blocks, config.decoder_width, config.patch_size, {where, "decoder_blocks"},
                                     check_decoder_block);
  LTXV_REQUIRE(BadWeights, down.spatial == up.spatial && down.temporal == up.temporal, where, ": the encoder compresses ",
               down.spatial, "x in space and ", down.temporal, "x in time, the decoder expands ", up.spatial, "x and ",
               up.temporal, "x");
  config.compression = down;
}

}  // namespace ltxv
