#include <algorithm>
#include <nlohmann/json.hpp>

#include "vae/config_object.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

constexpr int64_t kMostWidth = 16384, kMostLayers = 64, kMostMultiplier = 16;
constexpr size_t kMostBlocks = 64;

struct RawBlock {
  std::string kind;
  int64_t layer_count = 1;
  int64_t multiplier = 0;  // 0: not given, the default depends on the kind
  bool residual = false, inject_noise = false;
};

/// Entries are ["kind", layer_count] or ["kind", {"num_layers":, "multiplier":, "residual":, "inject_noise":}].
std::vector<RawBlock> read_blocks(ConfigObject& config, const char* key) {
  std::vector<RawBlock> blocks;
  for (const auto& entry : config.array(key, kMostBlocks)) {
    const std::string at = text(config.at(key), "[", blocks.size(), "]");
    LTXV_REQUIRE(BadWeights, entry.is_array() && entry.size() == 2 && entry[0].is_string(), at,
                 " is not a pair of a block name and its parameters");
    RawBlock b{.kind = entry[0].get<std::string>()};
    if (entry[1].is_object()) {
      ConfigObject p(entry[1], at);
      LTXV_REQUIRE(BadWeights, b.kind != "res_x" || p.has("num_layers"), at, ": num_layers is missing");
      b.layer_count = p.integer("num_layers", 1, 1, kMostLayers);
      b.multiplier = p.integer("multiplier", 0, 1, kMostMultiplier);
      b.residual = p.boolean("residual", false);
      b.inject_noise = p.boolean("inject_noise", false);
      p.finish();
    } else {
      b.layer_count = checked_integer(entry[1], at, 1, kMostLayers);
    }
    blocks.push_back(std::move(b));
  }
  LTXV_REQUIRE(BadWeights, !blocks.empty(), config.at(key), " is empty");
  return blocks;
}

std::vector<VaeBlock> encoder_blocks(const std::vector<RawBlock>& raw, int64_t width) {
  std::vector<VaeBlock> blocks;
  for (const RawBlock& r : raw) {
    VaeBlock b{.kind = r.kind, .in_channels = width, .layer_count = r.kind == "res_x" ? r.layer_count : 1};
    // A plain compress_* keeps the width here even when it carries a multiplier: that one is the decoder's, of a shared list.
    const bool widens = r.kind == "res_x_y" || r.kind == "compress_all_x_y" || (r.kind.size() > 4 && r.kind.ends_with("_res"));
    if (widens) width *= r.multiplier ? r.multiplier : 2;
    b.out_channels = width;
    blocks.push_back(std::move(b));
  }
  return blocks;
}

/// Fills `width` with the width the decoder starts at: the base width times all multipliers.
std::vector<VaeBlock> decoder_blocks(std::vector<RawBlock> raw, int64_t base, int64_t& width, const std::string& where) {
  std::reverse(raw.begin(), raw.end());
  const auto divisor = [](const RawBlock& r) -> int64_t {
    if (r.kind == "res_x_y") return r.multiplier ? r.multiplier : 2;
    return r.kind.rfind("compress", 0) == 0 && r.multiplier ? r.multiplier : 1;
  };
  width = base;
  for (const RawBlock& r : raw) {
    width *= divisor(r);
    LTXV_REQUIRE(BadWeights, width <= kMostWidth, where, ": the decoder's multipliers make it ", width, " channels wide, at most ",
                 kMostWidth, " are allowed");
  }
  std::vector<VaeBlock> blocks;
  int64_t at = width;
  for (const RawBlock& r : raw) {
    // The reference reads multiplier and residual of these two while it sizes the decoder, but not when it builds them.
    LTXV_REQUIRE(Unsupported, (r.kind != "compress_space" && r.kind != "compress_time") || (divisor(r) == 1 && !r.residual),
                 where, ": decoder block ", r.kind, " with a multiplier or a residual is not supported");
    VaeBlock b{.kind = r.kind, .in_channels = at, .out_channels = at / divisor(r),
               .layer_count = r.kind == "res_x" ? r.layer_count : 1, .residual = r.residual, .inject_noise = r.inject_noise};
    if (r.kind.rfind("compress", 0) == 0) b.multiplier = divisor(r);
    at = b.out_channels;
    blocks.push_back(std::move(b));
  }
  return blocks;
}

}  // namespace

VaeConfig vae_config_from_original(const nlohmann::json& vae, const std::string& where) {
  ConfigObject json(vae, where);
  VaeConfig c;
  json.require("dims", 3, 3);
  json.require("norm_layer", "pixel_norm", "group_norm");
  json.require("latent_log_var", "uniform", "per_channel");
  json.require("use_quant_conv", false, true);
  json.require("normalize_latent_channels", false, false);
  json.require("double_z", true, true);
  json.require("patch_size_t", 1, 1);
  json.require("in_channels", 3, 3);
  json.require("out_channels", 3, 3);
  LTXV_REQUIRE(BadWeights, json.has("latent_channels"), json.at("latent_channels"), " is missing");
  c.latent_channels = json.integer("latent_channels", 128, 1, 4096);
  c.patch_size = json.integer("patch_size", 1, 1, 16);
  c.encoder_width = json.integer("encoder_base_channels", 128, 1, kMostWidth);
  c.timestep_conditioning = json.boolean("timestep_conditioning", false);
  c.decoder_causal = json.boolean("causal_decoder", false);
  c.scaling_factor = json.number("scaling_factor", 1);
  LTXV_REQUIRE(BadWeights, c.scaling_factor > 0, json.at("scaling_factor"), " is ", c.scaling_factor, ", it must be positive");
  c.spatial_padding_mode = json.string("spatial_padding_mode", "zeros");
  LTXV_REQUIRE(Unsupported,
               c.spatial_padding_mode == "zeros" || c.spatial_padding_mode == "reflect" || c.spatial_padding_mode == "replicate",
               json.at("spatial_padding_mode"), " is \"", c.spatial_padding_mode, "\", only zeros, reflect and replicate are supported");
  json.ignore("blocks");
  c.encoder_blocks =
      encoder_blocks(read_blocks(json, json.has("encoder_blocks") ? "encoder_blocks" : "blocks"), c.encoder_width);
  c.decoder_blocks = decoder_blocks(read_blocks(json, json.has("decoder_blocks") ? "decoder_blocks" : "blocks"),
                                    json.integer("decoder_base_channels", 128, 1, kMostWidth), c.decoder_width, where);
  json.finish();
  for (const VaeBlock& b : c.encoder_blocks) {
    LTXV_REQUIRE(BadWeights, b.out_channels <= kMostWidth, where, ": the encoder grows ", b.out_channels,
                 " channels wide, at most ", kMostWidth, " are allowed");
  }
  finish_vae_config(c, where);
  return c;
}

KeyMap original_vae_names(VaeParts parts) {
  KeyMap names;
  // The other components, with and without the prefixes that tools write.
  for (const char* other : {"model.diffusion_model", "diffusion_model", "text_encoders.", "cond_stage_model.", "patchify_proj",
                            "adaln_single", "caption_projection", "transformer_blocks", "scale_shift_table", "proj_out"}) {
    names.drop(other);
  }
  for (const std::string prefix : {"vae.", "first_stage_model.", ""}) {
    for (const char* unused : {"channel", "mean-of-stds", "mean-of-stds_over_std-of-means"}) {
      names.drop(prefix + "per_channel_statistics." + unused);
    }
    if (parts == VaeParts::encoder) names.drop(prefix + "decoder");
    if (parts == VaeParts::decoder) names.drop(prefix + "encoder");
  }
  names.prefix("vae", "").prefix("first_stage_model", "");
  return names;
}

}  // namespace ltxv
