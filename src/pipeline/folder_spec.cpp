// Component configurations of a diffusers-layout folder.
#include <fstream>
#include <nlohmann/json.hpp>

#include "pipeline/spec_files.h"
#include "vae/config_object.h"

namespace ltxv {
namespace {

constexpr int64_t kMaxConfigBytes = 4 << 20;
constexpr int kMaxConfigDepth = 32;

using nlohmann::json;

}  // namespace

void refuse_other_families(const TensorSource& source) {
  for (const TensorEntry& entry : source.entries())
    LTXV_REQUIRE(Unsupported, entry.name.find("audio_") == std::string::npos, entry.file, ": tensor \"", entry.name,
                 "\" belongs to an LTX-2 model; LTX-Video 0.9.x is supported");
}

json read_json_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  LTXV_REQUIRE(IoError, file, path, ": cannot be read");
  const auto size = static_cast<int64_t>(file.tellg());
  LTXV_REQUIRE(BadWeights, size >= 0 && size <= kMaxConfigBytes, path, ": ", size, " bytes are too many for a configuration");
  std::string content(size, '\0');
  file.seekg(0);
  LTXV_REQUIRE(IoError, file.read(content.data(), size) || size == 0, path, ": cannot be read");
  try {
    return json::parse(content, [&](int depth, json::parse_event_t, json&) {
      LTXV_REQUIRE(BadWeights, depth <= kMaxConfigDepth, path, ": nested deeper than ", kMaxConfigDepth, " levels");
      return true;
    });
  } catch (const json::exception& e) {
    throw BadWeights(text(path, ": malformed JSON (", e.what(), ")"));
  }
}

TransformerConfig read_transformer_numbers(ConfigObject& object) {
  const std::string& where = object.where();
  constexpr int64_t kMaxChannels = 1 << 16, kMaxCount = 1024;
  TransformerConfig c;
  c.in_channels = object.integer("in_channels", 128, 1, kMaxChannels);
  c.out_channels = object.integer("out_channels", c.in_channels, 1, kMaxChannels);
  c.head_count = object.integer("num_attention_heads", 32, 1, kMaxCount);
  c.head_width = object.integer("attention_head_dim", 64, 2, kMaxCount);
  c.layer_count = object.integer("num_layers", 28, 1, kMaxCount);
  c.caption_channels = object.integer("caption_channels", 4096, 1, kMaxChannels);
  c.norm_eps = object.number("norm_eps", 1e-6);
  LTXV_REQUIRE(Unsupported, object.integer("cross_attention_dim", c.width(), 1, 1 << 20) == c.width(), where,
               ": \"cross_attention_dim\" is not num_attention_heads x attention_head_dim = ", c.width());
  LTXV_REQUIRE(BadWeights, c.width() % 2 == 0 && c.width() >= 12, where, ": model width ", c.width(), " cannot carry rotary positions");
  LTXV_REQUIRE(BadWeights, c.in_channels == c.out_channels, where, ": in_channels ", c.in_channels, " and out_channels ",
               c.out_channels, " differ");
  return c;
}

TransformerConfig transformer_config_from_diffusers(const json& config, const std::string& where, bool* states_causal) {
  ConfigObject object(config, where);
  const auto name = object.string("_class_name", "LTXVideoTransformer3DModel");
  LTXV_REQUIRE(Unsupported, name.rfind("LTX2", 0) != 0, where, ": \"_class_name\" is ", name,
               ": this is an LTX-2 model; LTX-Video 0.9.x is supported");
  LTXV_REQUIRE(Unsupported, name == "LTXVideoTransformer3DModel", where, ": \"_class_name\" is ", name,
               ", expected LTXVideoTransformer3DModel");
  TransformerConfig c = read_transformer_numbers(object);
  object.require("activation_fn", "gelu-approximate", "gelu-approximate");
  object.require("attention_bias", true, true);
  object.require("attention_out_bias", true, true);
  object.require("norm_elementwise_affine", false, false);
  object.require("qk_norm", "rms_norm_across_heads", "rms_norm_across_heads");
  object.require("patch_size", 1, 1);
  object.require("patch_size_t", 1, 1);
  *states_causal = object.has("causal_temporal_positioning");
  c.causal_positions = object.boolean("causal_temporal_positioning", false);
  object.finish();
  return c;
}

KeyMap diffusers_transformer_names() {
  KeyMap names;
  names.prefix("proj_in", "patchify_proj").prefix("time_embed", "adaln_single");
  names.anywhere("norm_q", "q_norm").anywhere("norm_k", "k_norm");
  return names;
}

KeyMap diffusers_transformer_spelling() {
  KeyMap names;
  names.prefix("patchify_proj", "proj_in").prefix("adaln_single", "time_embed");
  names.anywhere("q_norm", "norm_q").anywhere("k_norm", "norm_k");
  return names;
}

T5Config t5_config_from_transformers(const json& config, const std::string& where) {
  ConfigObject object(config, where);
  constexpr int64_t kMaxWidth = 1 << 20;
  T5Config c;
  object.require("model_type", "t5", "t5");
  c.vocabulary = object.integer("vocab_size", 32128, 1, 1 << 24);
  c.width = object.integer("d_model", 4096, 1, kMaxWidth);
  c.head_width = object.integer("d_kv", 64, 1, kMaxWidth);
  c.head_count = object.integer("num_heads", 64, 1, 4096);
  c.feed_forward_width = object.integer("d_ff", 10240, 1, kMaxWidth);
  c.layer_count = object.integer("num_layers", 24, 1, 1024);
  c.bucket_count = object.integer("relative_attention_num_buckets", 32, 4, 4096);
  c.bucket_max_distance = object.integer("relative_attention_max_distance", 128, 2, 1 << 20);
  LTXV_REQUIRE(BadWeights, c.bucket_count % 4 == 0 && c.bucket_max_distance > c.bucket_count / 4, where,
               ": relative_attention_num_buckets ", c.bucket_count, " and relative_attention_max_distance ",
               c.bucket_max_distance, " do not go together");
  c.norm_eps = object.number("layer_norm_epsilon", 1e-6);
  object.require("feed_forward_proj", "gated-gelu", "gated-gelu");
  object.require("dense_act_fn", "gelu_new", "gelu_new");
  object.require("is_gated_act", true, true);
  // Settings of training, of the decoder or of the writing program: they change nothing in an encoder's forward pass.
  for (const char* key :
       {"architectures", "classifier_dropout", "decoder_start_token_id", "dropout_rate", "eos_token_id", "initializer_factor",
        "is_decoder", "is_encoder_decoder", "num_decoder_layers", "output_past", "pad_token_id", "bos_token_id",
        "tie_word_embeddings", "torch_dtype", "dtype", "transformers_version", "use_cache", "n_positions", "task_specific_params",
        "scale_decoder_outputs", "id2label", "label2id", "output_attentions", "output_hidden_states", "return_dict", "torchscript",
        "use_bfloat16", "pruned_heads", "problem_type", "finetuning_task", "tokenizer_class", "prefix", "sep_token_id",
        "chunk_size_feed_forward", "gradient_checkpointing"})
    object.ignore(key);
  object.finish();
  return c;
}

ScheduleSpec schedule_from_diffusers(const json& config, const std::string& where) {
  ConfigObject object(config, where);
  const auto name = object.string("_class_name", "FlowMatchEulerDiscreteScheduler");
  LTXV_REQUIRE(Unsupported, name == "FlowMatchEulerDiscreteScheduler", where, ": scheduler ", name,
               " is not supported; expected FlowMatchEulerDiscreteScheduler");
  ScheduleSpec s;
  object.require("num_train_timesteps", 1000, 1000);
  s.base_shift = object.number("base_shift", 0.5);
  s.max_shift = object.number("max_shift", 1.15);
  s.base_tokens = static_cast<double>(object.integer("base_image_seq_len", 256, 1, 1 << 30));
  s.max_tokens = static_cast<double>(object.integer("max_image_seq_len", 4096, 1, 1 << 30));
  LTXV_REQUIRE(BadWeights, s.base_tokens != s.max_tokens, where, ": base_image_seq_len equals max_image_seq_len");
  s.fixed_shift = object.number("shift", 1.0);
  LTXV_REQUIRE(BadWeights, s.fixed_shift > 0, where, ": shift ", s.fixed_shift, " is not positive");
  object.ignore("shift_terminal");  // null is written for "none"
  if (object.has("shift_terminal")) s.terminal = object.number("shift_terminal", 0.1);
  s.kind = object.boolean("use_dynamic_shifting", false) ? ScheduleSpec::Kind::shifted : ScheduleSpec::Kind::uniform;
  object.require("time_shift_type", "exponential", "exponential");
  for (const char* key : {"invert_sigmas", "stochastic_sampling", "use_beta_sigmas", "use_exponential_sigmas", "use_karras_sigmas"})
    object.require(key, false, false);
  object.finish();
  return s;
}

}  // namespace ltxv
