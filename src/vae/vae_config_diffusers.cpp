#include <algorithm>
#include <nlohmann/json.hpp>

#include "vae/config_object.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

constexpr int64_t kMostWidth = 16384, kMostLayers = 64;

// What the class assumes for keys that a file leaves out, as files older than those keys do.
const std::vector<int64_t> kWidths = {128, 256, 512, 512}, kLayers = {4, 3, 3, 3, 4};
const std::vector<bool> kScaled = {true, true, true, false};

/// Appends blocks to one list and, beside each, the renaming of its tensors.
class BlockList {
 public:
  BlockList(std::vector<VaeBlock>& blocks, KeyMap& names, std::string canonical, int64_t width)
      : blocks_(blocks), names_(names), canonical_(std::move(canonical)), width_(width) {}

  int64_t width() const { return width_; }

  /// `owner`: the diffusers module that holds `resnets` (and a time embedder).
  void residual_blocks(const std::string& owner, int64_t layer_count, bool inject_noise = false) {
    const std::string to = next();
    names_.prefix(owner + ".time_embedder", to + ".time_embedder");
    for (int64_t i = 0; i < layer_count; ++i) residual_block(text(owner, ".resnets.", i), text(to, ".res_blocks.", i));
    blocks_.push_back({.kind = "res_x", .in_channels = width_, .out_channels = width_, .layer_count = layer_count,
                       .inject_noise = inject_noise});
  }
  void change_width(const std::string& module, int64_t width) {
    residual_block(module, next());
    blocks_.push_back({.kind = "res_x_y", .in_channels = width_, .out_channels = width});
    width_ = width;
  }
  void resample(const std::string& module, VaeBlock block) {
    names_.prefix(module, next());
    block.in_channels = width_;
    width_ = block.out_channels;
    blocks_.push_back(std::move(block));
  }

 private:
  std::string next() const { return text(canonical_, ".", blocks_.size()); }
  void residual_block(const std::string& from, const std::string& to) {
    names_.prefix(from + ".conv_shortcut.conv", to + ".conv_shortcut");
    names_.prefix(from + ".norm3", to + ".norm3.norm");
    names_.prefix(from, to);
  }
  std::vector<VaeBlock>& blocks_;
  KeyMap& names_;
  std::string canonical_;
  int64_t width_;
};

void need_length(const ConfigObject& json, const char* key, size_t found, size_t needed) {
  LTXV_REQUIRE(BadWeights, found >= needed, json.at(key), " has ", found, " entries, ", needed, " are needed");
}

void read_encoder(ConfigObject& json, VaeConfig& c, KeyMap& names) {
  const auto widths = json.integers("block_out_channels", kWidths, 1, kMostWidth);
  const auto types = json.strings("down_block_types", std::vector<std::string>(4, "LTXVideoDownBlock3D"));
  const auto scaled = json.booleans("spatio_temporal_scaling", kScaled);
  const auto layers = json.integers("layers_per_block", kLayers, 1, kMostLayers);
  const auto downsample = json.strings("downsample_type", std::vector<std::string>(4, "conv"));
  LTXV_REQUIRE(BadWeights, !widths.empty() && !types.empty(), json.at("block_out_channels"), " or down_block_types is empty");
  const bool folds = types.back() == "LTXVideo095DownBlock3D";
  const size_t count = widths.size() - (folds ? 1 : 0);
  LTXV_REQUIRE(BadWeights, count >= 1, json.at("block_out_channels"), " has ", widths.size(), " entries, 2 are needed");
  need_length(json, "down_block_types", types.size(), count);
  need_length(json, "spatio_temporal_scaling", scaled.size(), count);
  need_length(json, "layers_per_block", layers.size(), count + 1);
  need_length(json, "downsample_type", downsample.size(), count);

  c.encoder_width = widths[0];
  BlockList list(c.encoder_blocks, names, "encoder.down_blocks", widths[0]);
  // diffusers and canonical names overlap (both have encoder.down_blocks.<n>), but every name passes through one rule only.
  for (size_t i = 0; i < count; ++i) {
    const std::string owner = text("encoder.down_blocks.", i), down = owner + ".downsamplers.0";
    const int64_t width = folds || i + 1 < count ? widths[i + 1] : widths[i];
    list.residual_blocks(owner, layers[i]);
    if (types[i] == "LTXVideoDownBlock3D") {
      if (scaled[i]) list.resample(down, {.kind = "compress_all", .out_channels = list.width()});
      if (width != list.width()) list.change_width(owner + ".conv_out", width);
    } else if (types[i] == "LTXVideo095DownBlock3D") {
      const std::string& type = downsample[i];
      const bool conv = !scaled[i] || type == "conv";
      LTXV_REQUIRE(BadWeights, !conv || width == list.width(), json.at("block_out_channels"), "[", i + 1, "] is ", width,
                   ", but block ", i, " cannot change its width from ", list.width());
      const auto* kind = type == "spatial" ? "compress_space_res" : type == "temporal" ? "compress_time_res" : "compress_all_res";
      LTXV_REQUIRE(Unsupported, conv || type == "spatial" || type == "temporal" || type == "spatiotemporal",
                   json.at("downsample_type"), "[", i, "] is \"", type, "\", only conv, spatial, temporal and spatiotemporal are supported");
      if (scaled[i]) list.resample(down, {.kind = conv ? "compress_all" : kind, .out_channels = width});
    } else {
      throw Unsupported(text(json.at("down_block_types"), "[", i, "] is \"", types[i],
                             "\", only LTXVideoDownBlock3D and LTXVideo095DownBlock3D are supported"));
    }
  }
  list.residual_blocks("encoder.mid_block", layers.back());
}

template <class T>
std::vector<T> reversed(std::vector<T> v) {
  std::reverse(v.begin(), v.end());
  return v;
}

void read_decoder(ConfigObject& json, VaeConfig& c, KeyMap& names) {
  const auto widths = reversed(json.integers("decoder_block_out_channels", kWidths, 1, kMostWidth));
  const size_t count = widths.size();
  LTXV_REQUIRE(BadWeights, count >= 1, json.at("decoder_block_out_channels"), " is empty");
  const auto scaled = reversed(json.booleans("decoder_spatio_temporal_scaling", kScaled));
  const auto layers = reversed(json.integers("decoder_layers_per_block", kLayers, 1, kMostLayers));
  const auto noise = reversed(json.booleans("decoder_inject_noise", std::vector<bool>(5, false)));
  const auto residual = reversed(json.booleans("upsample_residual", std::vector<bool>(4, false)));
  const auto factor = reversed(json.integers("upsample_factor", {1, 1, 1, 1}, 1, 16));
  need_length(json, "decoder_spatio_temporal_scaling", scaled.size(), count);
  need_length(json, "decoder_layers_per_block", layers.size(), count + 1);
  need_length(json, "decoder_inject_noise", noise.size(), count + 1);
  need_length(json, "upsample_residual", residual.size(), count);
  need_length(json, "upsample_factor", factor.size(), count);

  c.decoder_width = widths[0];
  BlockList list(c.decoder_blocks, names, "decoder.up_blocks", widths[0]);
  list.residual_blocks("decoder.mid_block", layers[0], noise[0]);
  for (size_t i = 0; i < count; ++i) {
    const std::string owner = text("decoder.up_blocks.", i);
    LTXV_REQUIRE(BadWeights, list.width() % factor[i] == 0 && widths[i] % factor[i] == 0, json.at("upsample_factor"), " holds ",
                 factor[i], ", which does not divide the widths ", list.width(), " and ", widths[i]);
    const int64_t in = list.width() / factor[i], out = widths[i] / factor[i];
    if (in != out) {
      // diffusers cannot run any of these three: its first residual block would get the wrong width or the wrong embedding.
      LTXV_REQUIRE(Unsupported, factor[i] == 1 && !c.timestep_conditioning && !noise[i + 1], json.at("decoder_block_out_channels"),
                   " changes width from ", in, " to ", out, " at block ", i,
                   ", which upsample_factor, timestep_conditioning and decoder_inject_noise do not allow");
      list.change_width(owner + ".conv_in", out);
    }
    if (scaled[i]) {
      list.resample(owner + ".upsamplers.0",
                    {.kind = "compress_all", .out_channels = out, .multiplier = factor[i], .residual = residual[i]});
    }
    LTXV_REQUIRE(BadWeights, list.width() == out, json.at("upsample_factor"), ": block ", i, " has ", list.width(),
                 " channels where ", out, " are needed");
    list.residual_blocks(owner, layers[i + 1], noise[i + 1]);
  }
}

}  // namespace

VaeConfigAndNames vae_config_from_diffusers(const nlohmann::json& config, const std::string& where, VaeParts parts) {
  ConfigObject json(config, where);
  VaeConfigAndNames out;
  VaeConfig& c = out.config;
  json.require("in_channels", 3, 3);
  json.require("out_channels", 3, 3);
  json.require("patch_size_t", 1, 1);
  json.require("resnet_norm_eps", 1e-6, 1e-6);
  c.latent_channels = json.integer("latent_channels", 128, 1, 4096);
  c.patch_size = json.integer("patch_size", 4, 1, 16);
  c.timestep_conditioning = json.boolean("timestep_conditioning", false);
  c.encoder_causal = json.boolean("encoder_causal", true);
  c.decoder_causal = json.boolean("decoder_causal", false);
  c.scaling_factor = json.number("scaling_factor", 1);
  LTXV_REQUIRE(BadWeights, c.scaling_factor > 0, json.at("scaling_factor"), " is ", c.scaling_factor, ", it must be positive");

  if (parts == VaeParts::encoder) out.names.drop("decoder");
  if (parts == VaeParts::decoder) out.names.drop("encoder");
  out.names.prefix("latents_mean", "per_channel_statistics.mean-of-means");
  out.names.prefix("latents_std", "per_channel_statistics.std-of-means");
  out.names.prefix("decoder.time_embedder", "decoder.last_time_embedder");
  out.names.prefix("decoder.scale_shift_table", "decoder.last_scale_shift_table");
  read_encoder(json, c, out.names);
  read_decoder(json, c, out.names);

  const int64_t spatial = json.integer("spatial_compression_ratio", 0, 1, 1024);
  const int64_t temporal = json.integer("temporal_compression_ratio", 0, 1, 1024);
  json.finish();
  finish_vae_config(c, where);
  LTXV_REQUIRE(BadWeights, spatial == 0 || spatial == c.compression.spatial, json.at("spatial_compression_ratio"), " is ",
               spatial, ", but the blocks compress ", c.compression.spatial, "x");
  LTXV_REQUIRE(BadWeights, temporal == 0 || temporal == c.compression.temporal, json.at("temporal_compression_ratio"), " is ",
               temporal, ", but the blocks compress ", c.compression.temporal, "x");
  return out;
}

}  // namespace ltxv
