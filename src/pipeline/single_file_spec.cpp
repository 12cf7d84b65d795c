// Original single-file checkpoints: transformer and VAE in one safetensors file, described by the JSON in its metadata.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "diffusion/schedule.h"
#include "pipeline/spec_files.h"
#include "vae/config_object.h"
#include "vae/vae_config_json.h"
#include "weights/tensor_source.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Prefixes under which tools save the transformer; the rest of the name is canonical.
constexpr const char* kTransformerPrefixes[] = {"model.diffusion_model", "diffusion_model"};

json embedded_config(const TensorSource& file) {
  const auto entry = file.metadata().find("config");
  LTXV_REQUIRE(Unsupported, entry != file.metadata().end(), file.path(),
               ": no \"config\" in its metadata; a checkpoint without its own description cannot be read yet");
  auto config = json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  LTXV_REQUIRE(BadWeights, config.is_object(), file.path(), ": the \"config\" in its metadata is not a JSON object");
  for (const char* part : {"transformer", "vae", "scheduler"})
    LTXV_REQUIRE(BadWeights, config.contains(part), file.path(), ": the \"config\" in its metadata has no \"", part, "\"");
  return config;
}

ScheduleSpec schedule_from_original(const json& config, const std::string& where) {
  ConfigObject object(config, where);
  object.require("_class_name", "RectifiedFlowScheduler", "RectifiedFlowScheduler");
  object.require("num_train_timesteps", 1000, 1000);
  object.require("base_resolution", nullptr, nullptr);
  ScheduleSpec s;
  const auto sampler = object.string("sampler", "Uniform");
  const auto shifting = object.string("shifting", "");
  if (sampler == "LinearQuadratic") {
    s.kind = ScheduleSpec::Kind::linear_quadratic;
  } else {
    LTXV_REQUIRE(Unsupported, sampler == "Uniform", where, ": sampler \"", sampler, "\" is not LinearQuadratic or Uniform");
    LTXV_REQUIRE(Unsupported, shifting.empty() || shifting == "SD3", where, ": shifting \"", shifting, "\" is not SD3");
    s.kind = shifting.empty() ? ScheduleSpec::Kind::uniform : ScheduleSpec::Kind::shifted;
  }
  if (object.has("target_shift_terminal")) s.terminal = object.number("target_shift_terminal", 0.1);
  object.ignore("target_shift_terminal");
  object.finish();
  return s;
}

}  // namespace

TransformerConfig transformer_config_from_original(const json& config, const std::string& where, bool* states_causal) {
  ConfigObject object(config, where);
  object.require("_class_name", "Transformer3DModel", "Transformer3DModel");
  TransformerConfig c = read_transformer_numbers(object);
  c.rope_theta = object.number("positional_embedding_theta", 10000.0);
  c.timestep_scale = object.number("timestep_scale_multiplier", 1000);
  object.require("activation_fn", "gelu-approximate", "gelu-approximate");
  object.require("attention_bias", true, true);
  object.require("norm_elementwise_affine", false, false);
  object.require("qk_norm", "rms_norm", "rms_norm");
  object.require("standardization_norm", "rms_norm", "rms_norm");
  object.require("positional_embedding_type", "rope", "rope");
  object.require("positional_embedding_max_pos", json::array({20, 2048, 2048}), json::array({20, 2048, 2048}));
  object.require("adaptive_norm", "single_scale_shift", "single_scale_shift");
  object.require("attention_type", "default", "default");
  object.require("double_self_attention", false, false);
  object.require("only_cross_attention", false, false);
  object.require("use_linear_projection", false, false);
  object.require("num_vector_embeds", nullptr, nullptr);
  for (const char* key : {"dropout", "norm_num_groups", "num_embeds_ada_norm", "upcast_attention", "sample_size", "patch_size",
                          "use_tpu_flash_attention", "project_to_2d_pos", "skip_layer_strategy"})
    object.ignore(key);
  *states_causal = object.has("causal_temporal_positioning");
  c.causal_positions = object.boolean("causal_temporal_positioning", false);
  object.finish();
  return c;
}

KeyMap original_transformer_names() {
  KeyMap names;
  names.drop("vae.").drop("text_encoders.");
  for (const char* prefix : kTransformerPrefixes) names.prefix(prefix, "");
  return names;
}

T5Config t5_config_from_tensors(const TensorSource& file) {
  const auto shape = [&](const std::string& name, size_t axes) {
    const TensorEntry* entry = file.find(name);
    LTXV_REQUIRE(BadWeights, entry != nullptr, file.path(), ": not a T5 encoder: tensor \"", name, "\" is missing");
    LTXV_REQUIRE(BadWeights, entry->shape.size() == axes, file.path(), ": tensor \"", name, "\" has ", entry->shape.size(), " axes, not ",
                 axes);
    return entry->shape;
  };
  const std::string first = "encoder.block.0.layer.";
  const auto embedding = shape(file.find("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight", 2);
  const auto bias = shape(first + "0.SelfAttention.relative_attention_bias.weight", 2);
  T5Config c;
  c.vocabulary = embedding[0];
  c.width = embedding[1];
  c.bucket_count = bias[0];
  c.head_count = bias[1];
  const int64_t inner = shape(first + "0.SelfAttention.q.weight", 2)[0];
  LTXV_REQUIRE(BadWeights, c.head_count > 0 && inner % c.head_count == 0, file.path(), ": ", c.head_count, " heads do not divide width ",
               inner);
  c.head_width = inner / c.head_count;
  c.feed_forward_width = shape(first + "1.DenseReluDense.wi_0.weight", 2)[0];
  c.layer_count = 0;
  while (file.find(text("encoder.block.", c.layer_count, ".layer.0.layer_norm.weight"))) ++c.layer_count;
  LTXV_REQUIRE(BadWeights, c.layer_count > 0 && c.bucket_count >= 4 && c.bucket_count % 4 == 0, file.path(), ": not a T5 encoder");
  return c;
}

ModelSpec load_single_file_spec(const ModelParts& parts) {
  const auto file = open_tensors(parts.model);
  for (const TensorEntry& entry : file->entries())
    LTXV_REQUIRE(Unsupported, entry.name.find("audio_") == std::string::npos, parts.model, ": tensor \"", entry.name,
                 "\" belongs to an LTX-2 model; LTX-Video 0.9.x is supported");
  const json config = embedded_config(*file);

  ModelSpec spec;
  spec.name = fs::path(parts.model).stem().string();
  bool states_causal = false;
  spec.transformer_files = {parts.model, original_transformer_names()};
  spec.transformer = transformer_config_from_original(config.at("transformer"), parts.model + ": transformer", &states_causal);
  spec.vae_files.path = parts.model;
  spec.vae = vae_config_from_original(config.at("vae"), parts.model + ": vae");
  spec.vae_encoder_names = original_vae_names(VaeParts::encoder);
  spec.vae_decoder_names = original_vae_names(VaeParts::decoder);
  spec.schedule = schedule_from_original(config.at("scheduler"), parts.model + ": scheduler");
  apply_builtin_spec(spec, states_causal);
  // A distilled checkpoint lists the only noise levels it was trained for, and needs no guidance.
  if (config.contains("allowed_inference_steps") && config.at("allowed_inference_steps").is_array()) {
    Preset distilled = spec.presets.front();
    distilled.guidance_scale = 1;
    distilled.sigmas.clear();
    for (const auto& sigma : config.at("allowed_inference_steps")) distilled.sigmas.push_back(sigma.is_number() ? sigma.get<double>() : -1);
    check_sigmas(distilled.sigmas);
    spec.presets = {distilled};
  }
  return spec;
}

}  // namespace ltxv
