// Original checkpoints: transformer and VAE in one file or alone, described by the JSON in their metadata where it is there.
#include <nlohmann/json.hpp>

#include "pipeline/spec_files.h"
#include "vae/config_object.h"
#include "weights/tensor_source.h"

namespace ltxv {
namespace {

using nlohmann::json;

// Prefixes under which tools save the transformer; the rest of the name is canonical.
constexpr const char* kTransformerPrefixes[] = {"model.diffusion_model", "diffusion_model"};
// What else lies in such files: VAE and text encoder, with and without prefixes.
constexpr const char* kOtherParts[] = {"vae.", "first_stage_model.", "encoder.", "decoder.", "per_channel_statistics.",
                                       "text_encoders.", "cond_stage_model."};

}  // namespace

json embedded_config(const TensorSource& file) {
  const auto entry = file.metadata().find("config");
  if (entry == file.metadata().end()) return json::object();
  auto config = json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  LTXV_REQUIRE(BadWeights, config.is_object(), file.path(), ": the \"config\" in its metadata is not a JSON object");
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
  for (const char* part : kOtherParts) names.drop(part);
  for (const char* prefix : kTransformerPrefixes) names.prefix(prefix, "");
  return names;
}

}  // namespace ltxv
