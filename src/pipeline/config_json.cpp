#include "pipeline/config_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "pipeline/spec_files.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

using json = nlohmann::ordered_json;

void require_same(bool same, const char* what, const char* form) {
  LTXV_REQUIRE(Unsupported, same, "this ", what, " cannot be described in ", form, "'s form; convert to the other one");
}

bool same_transformer(const TransformerConfig& a, const TransformerConfig& b) {
  return a.in_channels == b.in_channels && a.out_channels == b.out_channels && a.head_count == b.head_count && a.head_width == b.head_width &&
         a.layer_count == b.layer_count && a.caption_channels == b.caption_channels && a.norm_eps == b.norm_eps &&
         a.qk_norm_eps == b.qk_norm_eps && a.rope_theta == b.rope_theta && a.rope_max_position == b.rope_max_position &&
         a.timestep_scale == b.timestep_scale;
}

bool same_schedule(const ScheduleSpec& a, const ScheduleSpec& b) {
  if (a.kind != b.kind) return false;
  if (a.kind == ScheduleSpec::Kind::uniform) return a.fixed_shift == b.fixed_shift;
  if (a.kind == ScheduleSpec::Kind::linear_quadratic) return true;
  return a.base_shift == b.base_shift && a.max_shift == b.max_shift && a.base_tokens == b.base_tokens && a.max_tokens == b.max_tokens &&
         a.terminal == b.terminal;
}

bool ends_with_res(const VaeBlock& b) { return b.kind.ends_with("_res"); }
bool is_compress(const VaeBlock& b) { return b.kind.starts_with("compress"); }

// One residual module of diffusers and what stands before or behind it.
struct Stage {
  const VaeBlock *residuals = nullptr, *resample = nullptr, *change = nullptr;
};

// Encoder: residual blocks, then a resampling, then a change of width. The last stage is the middle block.
std::vector<Stage> encoder_stages(const std::vector<VaeBlock>& blocks) {
  std::vector<Stage> stages;
  for (const VaeBlock& block : blocks) {
    if (block.kind == "res_x") {
      stages.push_back({.residuals = &block});
      continue;
    }
    require_same(!stages.empty(), "VAE", "diffusers");
    Stage& stage = stages.back();
    const VaeBlock*& slot = is_compress(block) ? stage.resample : stage.change;
    require_same(slot == nullptr && (!is_compress(block) || !stage.change), "VAE", "diffusers");
    slot = &block;
  }
  require_same(stages.size() >= 2 && !stages.back().resample && !stages.back().change, "VAE", "diffusers");
  return stages;
}

// Decoder: the middle block first; then a change of width, a resampling and residual blocks, each but the last optional.
std::vector<Stage> decoder_stages(const std::vector<VaeBlock>& blocks) {
  std::vector<Stage> stages;
  Stage stage;
  for (const VaeBlock& block : blocks) {
    if (block.kind == "res_x") {
      stage.residuals = &block;
      stages.push_back(stage);
      stage = {};
      continue;
    }
    const VaeBlock*& slot = is_compress(block) ? stage.resample : stage.change;
    require_same(slot == nullptr && !stages.empty() && (is_compress(block) || !stage.resample), "VAE", "diffusers");
    slot = &block;
  }
  require_same(stages.size() >= 2 && !stage.resample && !stage.change, "VAE", "diffusers");
  return stages;
}

json reversed(json list) {
  std::reverse(list.begin(), list.end());
  return list;
}

void add_encoder(const VaeConfig& c, json& j) {
  const auto stages = encoder_stages(c.encoder_blocks);
  const bool folds = std::any_of(c.encoder_blocks.begin(), c.encoder_blocks.end(), ends_with_res);
  json widths = {c.encoder_width}, types = json::array(), scaled = json::array(), layers = json::array(), downsample = json::array();
  for (size_t i = 0; i + 1 < stages.size(); ++i) {
    const Stage& stage = stages[i];
    const VaeBlock* const last = stage.change ? stage.change : stage.resample ? stage.resample : stage.residuals;
    widths.push_back(last->out_channels);
    types.push_back(folds ? "LTXVideo095DownBlock3D" : "LTXVideoDownBlock3D");
    scaled.push_back(stage.resample != nullptr);
    layers.push_back(stage.residuals->layer_count);
    const std::string kind = stage.resample ? stage.resample->kind : "";
    downsample.push_back(kind == "compress_space_res"  ? "spatial"
                         : kind == "compress_time_res" ? "temporal"
                         : kind == "compress_all_res"  ? "spatiotemporal"
                                                       : "conv");
  }
  layers.push_back(stages.back().residuals->layer_count);
  if (!folds) widths.erase(widths.size() - 1);  // the last block of this family keeps its width
  j["block_out_channels"] = widths;
  j["down_block_types"] = types;
  j["spatio_temporal_scaling"] = scaled;
  j["layers_per_block"] = layers;
  j["downsample_type"] = downsample;
}

void add_decoder(const VaeConfig& c, json& j) {
  const auto stages = decoder_stages(c.decoder_blocks);
  json widths = json::array(), scaled = json::array(), layers = json::array(), noise = json::array(), residual = json::array(),
       factors = json::array();
  layers.push_back(stages[0].residuals->layer_count);
  noise.push_back(stages[0].residuals->inject_noise);
  for (size_t i = 1; i < stages.size(); ++i) {
    const Stage& stage = stages[i];
    const int64_t factor = stage.resample ? stage.resample->multiplier : 1;
    widths.push_back(stage.residuals->out_channels * factor);
    scaled.push_back(stage.resample != nullptr);
    layers.push_back(stage.residuals->layer_count);
    noise.push_back(stage.residuals->inject_noise);
    residual.push_back(stage.resample && stage.resample->residual);
    factors.push_back(factor);
  }
  j["decoder_block_out_channels"] = reversed(widths);
  j["decoder_spatio_temporal_scaling"] = reversed(scaled);
  j["decoder_layers_per_block"] = reversed(layers);
  j["decoder_inject_noise"] = reversed(noise);
  j["upsample_residual"] = reversed(residual);
  j["upsample_factor"] = reversed(factors);
}

// Renamings of one residual block, of a module of them, and of a list of stages. A block's number is its place in the list.
void spell_residual(KeyMap& names, const std::string& from, const std::string& to) {
  names.prefix(from + ".conv_shortcut", to + ".conv_shortcut.conv").prefix(from + ".norm3.norm", to + ".norm3").prefix(from, to);
}

void spell_stage(KeyMap& names, const Stage& stage, const std::vector<VaeBlock>& blocks, const std::string& list, const std::string& owner,
                 const char* resample, const char* change) {
  const auto block = [&](const VaeBlock* b) { return text(list, ".", b - blocks.data()); };
  names.prefix(block(stage.residuals) + ".time_embedder", owner + ".time_embedder");
  for (int64_t i = 0; i < stage.residuals->layer_count; ++i)
    spell_residual(names, text(block(stage.residuals), ".res_blocks.", i), text(owner, ".resnets.", i));
  if (stage.resample) names.prefix(block(stage.resample), owner + resample);
  if (stage.change) spell_residual(names, block(stage.change), owner + change);
}

json original_blocks(const std::vector<VaeBlock>& blocks, bool decoder) {
  json list = json::array();
  for (const VaeBlock& b : blocks) {
    json parameters = json::object();
    if (b.kind == "res_x") {
      parameters["num_layers"] = b.layer_count;
      if (decoder) parameters["inject_noise"] = b.inject_noise;
    } else if (decoder) {
      parameters["multiplier"] = b.in_channels / b.out_channels;
      if (b.residual) parameters["residual"] = true;
    } else {
      parameters["multiplier"] = b.out_channels / b.in_channels;
    }
    list.push_back({b.kind, parameters});
  }
  return decoder ? reversed(list) : list;
}

}  // namespace

json transformer_to_original(const TransformerConfig& c) {
  json j{{"_class_name", "Transformer3DModel"},
         {"in_channels", c.in_channels},
         {"out_channels", c.out_channels},
         {"num_attention_heads", c.head_count},
         {"attention_head_dim", c.head_width},
         {"num_layers", c.layer_count},
         {"cross_attention_dim", c.width()},
         {"caption_channels", c.caption_channels},
         {"norm_eps", c.norm_eps},
         {"qk_norm", "rms_norm"},
         {"standardization_norm", "rms_norm"},
         {"norm_elementwise_affine", false},
         {"attention_bias", true},
         {"activation_fn", "gelu-approximate"},
         {"adaptive_norm", "single_scale_shift"},
         {"positional_embedding_type", "rope"},
         {"positional_embedding_theta", c.rope_theta},
         {"positional_embedding_max_pos", {20, 2048, 2048}},
         {"timestep_scale_multiplier", c.timestep_scale},
         {"causal_temporal_positioning", c.causal_positions}};
  bool states_causal = false;
  const auto again = transformer_config_from_original(j, "converted transformer", &states_causal);
  require_same(same_transformer(again, c) && again.causal_positions == c.causal_positions, "transformer", "an original checkpoint");
  return j;
}

json transformer_to_diffusers(const TransformerConfig& c, bool inferred_causal) {
  json j{{"_class_name", "LTXVideoTransformer3DModel"},
         {"activation_fn", "gelu-approximate"},
         {"attention_bias", true},
         {"attention_head_dim", c.head_width},
         {"attention_out_bias", true},
         {"caption_channels", c.caption_channels},
         {"cross_attention_dim", c.width()},
         {"in_channels", c.in_channels},
         {"norm_elementwise_affine", false},
         {"norm_eps", c.norm_eps},
         {"num_attention_heads", c.head_count},
         {"num_layers", c.layer_count},
         {"out_channels", c.out_channels},
         {"patch_size", 1},
         {"patch_size_t", 1},
         {"qk_norm", "rms_norm_across_heads"}};
  // No key of diffusers' own; it warns of it and goes on.
  if (c.causal_positions != inferred_causal) j["causal_temporal_positioning"] = c.causal_positions;
  bool states_causal = false;
  require_same(same_transformer(transformer_config_from_diffusers(j, "converted transformer", &states_causal), c), "transformer", "diffusers");
  return j;
}

json vae_to_original(const VaeConfig& c) {
  int64_t shrink = 1;
  for (const VaeBlock& b : c.decoder_blocks) shrink *= b.in_channels / b.out_channels;
  json j{{"_class_name", "CausalVideoAutoencoder"},
         {"dims", 3},
         {"in_channels", c.in_channels},
         {"out_channels", c.out_channels},
         {"latent_channels", c.latent_channels},
         {"encoder_blocks", original_blocks(c.encoder_blocks, false)},
         {"decoder_blocks", original_blocks(c.decoder_blocks, true)},
         {"encoder_base_channels", c.encoder_width},
         {"decoder_base_channels", c.decoder_width / shrink},
         {"scaling_factor", c.scaling_factor},
         {"norm_layer", "pixel_norm"},
         {"patch_size", c.patch_size},
         {"latent_log_var", "uniform"},
         {"use_quant_conv", false},
         {"causal_decoder", c.decoder_causal},
         {"timestep_conditioning", c.timestep_conditioning},
         {"spatial_padding_mode", c.spatial_padding_mode}};
  require_same(vae_config_from_original(j, "converted vae") == c, "VAE", "an original checkpoint");
  return j;
}

json vae_to_diffusers(const VaeConfig& c) {
  json j{{"_class_name", "AutoencoderKLLTXVideo"},
         {"in_channels", c.in_channels},
         {"out_channels", c.out_channels},
         {"latent_channels", c.latent_channels},
         {"patch_size", c.patch_size},
         {"patch_size_t", 1},
         {"resnet_norm_eps", 1e-6},
         {"scaling_factor", c.scaling_factor},
         {"timestep_conditioning", c.timestep_conditioning},
         {"encoder_causal", c.encoder_causal},
         {"decoder_causal", c.decoder_causal},
         {"spatial_compression_ratio", c.compression.spatial},
         {"temporal_compression_ratio", c.compression.temporal}};
  add_encoder(c, j);
  add_decoder(c, j);
  require_same(vae_config_from_diffusers(j, "converted vae").config == c, "VAE", "diffusers");
  return j;
}

KeyMap vae_diffusers_spelling(const VaeConfig& c) {
  KeyMap names;
  names.prefix("per_channel_statistics.mean-of-means", "latents_mean").prefix("per_channel_statistics.std-of-means", "latents_std");
  names.prefix("decoder.last_time_embedder", "decoder.time_embedder").prefix("decoder.last_scale_shift_table", "decoder.scale_shift_table");
  const auto encoder = encoder_stages(c.encoder_blocks), decoder = decoder_stages(c.decoder_blocks);
  for (size_t i = 0; i < encoder.size(); ++i)
    spell_stage(names, encoder[i], c.encoder_blocks, "encoder.down_blocks",
                i + 1 == encoder.size() ? "encoder.mid_block" : text("encoder.down_blocks.", i), ".downsamplers.0", ".conv_out");
  for (size_t i = 0; i < decoder.size(); ++i)
    spell_stage(names, decoder[i], c.decoder_blocks, "decoder.up_blocks",
                i == 0 ? "decoder.mid_block" : text("decoder.up_blocks.", i - 1), ".upsamplers.0", ".conv_in");
  return names;
}

json schedule_to_original(const ScheduleSpec& s) {
  json j{{"_class_name", "RectifiedFlowScheduler"}, {"num_train_timesteps", 1000}, {"base_resolution", nullptr}};
  j["sampler"] = s.kind == ScheduleSpec::Kind::linear_quadratic ? "LinearQuadratic" : "Uniform";
  j["shifting"] = s.kind == ScheduleSpec::Kind::shifted ? json("SD3") : json(nullptr);
  if (s.kind == ScheduleSpec::Kind::shifted && s.terminal) j["target_shift_terminal"] = *s.terminal;
  require_same(same_schedule(schedule_from_original(j, "converted scheduler"), s), "schedule", "an original checkpoint");
  return j;
}

json schedule_to_diffusers(const ScheduleSpec& s) {
  json j{{"_class_name", "FlowMatchEulerDiscreteScheduler"},
         {"num_train_timesteps", 1000},
         {"shift", s.fixed_shift},
         {"use_dynamic_shifting", s.kind == ScheduleSpec::Kind::shifted},
         {"base_shift", s.base_shift},
         {"max_shift", s.max_shift},
         {"base_image_seq_len", static_cast<int64_t>(s.base_tokens)},
         {"max_image_seq_len", static_cast<int64_t>(s.max_tokens)},
         {"shift_terminal", s.terminal ? json(*s.terminal) : json(nullptr)},
         {"time_shift_type", "exponential"}};
  for (const char* key : {"invert_sigmas", "stochastic_sampling", "use_beta_sigmas", "use_exponential_sigmas", "use_karras_sigmas"})
    j[key] = false;
  // The linear-quadratic one is made by the pipeline, whatever stands here.
  require_same(s.kind == ScheduleSpec::Kind::linear_quadratic || same_schedule(schedule_from_diffusers(j, "converted scheduler"), s), "schedule",
               "diffusers");
  return j;
}

json t5_to_transformers(const T5Config& c) {
  return {{"architectures", {"T5EncoderModel"}},
          {"model_type", "t5"},
          {"d_model", c.width},
          {"d_kv", c.head_width},
          {"d_ff", c.feed_forward_width},
          {"num_heads", c.head_count},
          {"num_layers", c.layer_count},
          {"vocab_size", c.vocabulary},
          {"relative_attention_num_buckets", c.bucket_count},
          {"relative_attention_max_distance", c.bucket_max_distance},
          {"layer_norm_epsilon", c.norm_eps},
          {"feed_forward_proj", "gated-gelu"},
          {"dense_act_fn", "gelu_new"},
          {"is_gated_act", true},
          {"is_encoder_decoder", false},
          {"use_cache", false},
          {"decoder_start_token_id", 0},
          {"eos_token_id", 1},
          {"pad_token_id", 0}};
}

}  // namespace ltxv
