// A model as data: what is read from a folder, and what is said when the folder is wrong.
#include "pipeline/model_spec.h"

#include "support/expect_error.h"
#include "support/model_copy.h"

namespace ltxv {
namespace {

using nlohmann::json;
using test::expect_error;
using test::ModelCopy;

ModelSpec load(const ModelCopy& model) { return load_model_spec({.model = model.path()}); }

constexpr auto kTransformer = "transformer/config.json", kVae = "vae/config.json", kText = "text_encoder/config.json",
               kScheduler = "scheduler/scheduler_config.json", kIndex = "model_index.json";

TEST(ModelSpec, ReadsTheTinyModel) {
  const auto spec = load_model_spec({.model = std::string(LTXV_SOURCE_DIR) + "/tests/golden/tiny_model/"});
  EXPECT_EQ(spec.name, "tiny_model");
  EXPECT_EQ(spec.transformer.width(), 20);
  EXPECT_EQ(spec.transformer.layer_count, 3);
  EXPECT_EQ(spec.transformer.in_channels, 8);
  EXPECT_EQ(spec.transformer.caption_channels, 24);
  EXPECT_EQ(spec.transformer.qk_norm_eps, 1e-5);
  EXPECT_TRUE(spec.transformer.causal_positions);  // its encoder has space-to-depth stages
  EXPECT_EQ(spec.text.vocabulary, 304);
  EXPECT_EQ(spec.text.width, 24);
  EXPECT_EQ(spec.text.head_count * spec.text.head_width, 16);
  EXPECT_EQ(spec.text.layer_count, 2);
  EXPECT_EQ(spec.vae.latent_channels, 8);
  EXPECT_TRUE(spec.vae.timestep_conditioning);
  EXPECT_EQ(spec.vae.compression.spatial, 32);
  EXPECT_EQ(spec.vae.compression.temporal, 8);
  EXPECT_EQ(spec.schedule.kind, ScheduleSpec::Kind::linear_quadratic);
  EXPECT_EQ(spec.transformer_files.names.apply("transformer_blocks.0.attn1.norm_q.weight"),
            "transformer_blocks.0.attn1.q_norm.weight");
  EXPECT_EQ(spec.transformer_files.names.apply("proj_in.bias"), "patchify_proj.bias");
}

TEST(ModelSpec, PresetsAreNamedAndTheFirstIsTheDefault) {
  const auto spec = load(ModelCopy());
  EXPECT_EQ(&spec.preset(""), &spec.presets.front());
  EXPECT_EQ(spec.preset("").name, "default");
  EXPECT_EQ(spec.preset("distilled").sigmas.size(), 8u);
  EXPECT_EQ(spec.preset("distilled").guidance_scale, 1);
  expect_error(ErrorCode::invalid_argument, "preset \"fast\" is not one of this model's (default, distilled)",
               [&] { spec.preset("fast"); });
}

TEST(ModelSpec, OtherPipelinesTakeTheirScheduleFromTheScheduler) {
  ModelCopy model;
  model.set(kIndex, "_class_name", "LTXPipeline");
  model.set(kScheduler, "shift", 3.0);
  EXPECT_EQ(load(model).schedule.kind, ScheduleSpec::Kind::uniform);
  EXPECT_EQ(load(model).schedule.fixed_shift, 3.0);
  model.edit(kScheduler, [](json& j) {
    j["use_dynamic_shifting"] = true;
    j["base_shift"] = 0.95, j["max_shift"] = 2.05;
    j["base_image_seq_len"] = 1024, j["max_image_seq_len"] = 4096;
    j["shift_terminal"] = 0.1;
  });
  const auto schedule = load(model).schedule;
  EXPECT_EQ(schedule.kind, ScheduleSpec::Kind::shifted);
  EXPECT_EQ(schedule.max_shift, 2.05);
  EXPECT_EQ(schedule.base_tokens, 1024);
  EXPECT_EQ(schedule.terminal, 0.1);
}

TEST(ModelSpec, AStatedCoordinateRuleWins) {
  ModelCopy model;
  EXPECT_FALSE(load(model.set(kTransformer, "causal_temporal_positioning", false)).transformer.causal_positions);
  EXPECT_TRUE(load(model.set(kTransformer, "causal_temporal_positioning", true)).transformer.causal_positions);
}

TEST(ModelSpec, PartsGivenApartReplaceTheFolders) {
  const ModelCopy model, other;
  other.remove("transformer").remove("vae").remove("tokenizer");
  const auto spec = load_model_spec({.model = model.path(), .text_encoder = other / "text_encoder"});
  EXPECT_EQ(spec.text_files.path, other / "text_encoder");
  EXPECT_EQ(spec.vae_files.path, model / "vae");
  expect_error(ErrorCode::io, other / "vae" + ": no such file",
               [&] { load_model_spec({.model = model.path(), .vae = other / "vae"}); });
  // A tokenizer may be the folder or the file.
  EXPECT_EQ(load_model_spec({.model = model.path(), .tokenizer = model / "tokenizer/spiece.model"}).tokenizer_path,
            load(model).tokenizer_path);
}

TEST(ModelSpec, WhatIsNotThereIsNamed) {
  expect_error(ErrorCode::io, "/nowhere/at/all: no such file or folder",
               [] { load_model_spec({.model = "/nowhere/at/all"}); });
  for (const std::string part : {"transformer", "vae", "text_encoder", "tokenizer", kTransformer, kVae, kText, kIndex,
                                 "tokenizer/spiece.model"}) {
    ModelCopy model;
    model.remove(part);
    expect_error(ErrorCode::io, model / part, [&] { load(model); });
  }
  ModelCopy model;
  model.set(kIndex, "_class_name", "LTXPipeline").remove(kScheduler);
  expect_error(ErrorCode::io, model / kScheduler, [&] { load(model); });
}

TEST(ModelSpec, MalformedJsonIsNamedWithItsFile) {
  for (const std::string file : {kTransformer, kVae, kText, kIndex}) {
    for (const std::string content : {"", "{", "[1,2]", "\"text\"", "{\"a\": 1e999999", "{} trailing"}) {
      ModelCopy model;
      model.write(file, content);
      expect_error(ErrorCode::bad_weights, model / file, [&] { load(model); });
    }
    ModelCopy deep;
    deep.write(file, std::string(100000, '[') + std::string(100000, ']'));
    expect_error(ErrorCode::bad_weights, deep / file, [&] { load(deep); });
  }
}

struct Change {
  const char *file, *key;
  json value;
  ErrorCode code;
  const char* words;
};

class ModelSpecValues : public ::testing::TestWithParam<Change> {};

TEST_P(ModelSpecValues, AreCheckedAndNamed) {
  const auto& c = GetParam();
  ModelCopy model;
  model.set(c.file, c.key, c.value);
  expect_error(c.code, model / c.file, [&] { load(model); });
  expect_error(c.code, c.words, [&] { load(model); });
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelSpecValues,
    ::testing::Values(
        Change{kTransformer, "num_layers", 0, ErrorCode::bad_weights, "num_layers"},
        Change{kTransformer, "num_layers", -1, ErrorCode::bad_weights, "num_layers"},
        Change{kTransformer, "num_layers", "three", ErrorCode::bad_weights, "num_layers"},
        Change{kTransformer, "num_layers", 1e30, ErrorCode::bad_weights, "num_layers"},
        Change{kTransformer, "attention_head_dim", 18446744073709551615u, ErrorCode::bad_weights, "attention_head_dim"},
        Change{kTransformer, "norm_eps", "small", ErrorCode::bad_weights, "norm_eps"},
        Change{kTransformer, "qk_norm", "layer_norm", ErrorCode::unsupported, "qk_norm"},
        Change{kTransformer, "activation_fn", "silu", ErrorCode::unsupported, "activation_fn"},
        Change{kTransformer, "patch_size", 2, ErrorCode::unsupported, "patch_size"},
        Change{kTransformer, "cross_attention_dim", 24, ErrorCode::unsupported, "cross_attention_dim"},
        Change{kTransformer, "out_channels", 16, ErrorCode::bad_weights, "out_channels"},
        Change{kTransformer, "new_feature", 1, ErrorCode::unsupported, "unknown key \"new_feature\""},
        Change{kTransformer, "_class_name", "LTX2VideoTransformer3DModel", ErrorCode::unsupported, "LTX-2"},
        Change{kTransformer, "_class_name", "FluxTransformer2DModel", ErrorCode::unsupported, "FluxTransformer2DModel"},
        Change{kText, "model_type", "gemma3", ErrorCode::unsupported, "gemma3"},
        Change{kText, "feed_forward_proj", "relu", ErrorCode::unsupported, "feed_forward_proj"},
        Change{kText, "vocab_size", 0, ErrorCode::bad_weights, "vocab_size"},
        Change{kText, "relative_attention_num_buckets", 6, ErrorCode::bad_weights, "relative_attention_num_buckets"},
        Change{kVae, "latent_channels", 0, ErrorCode::bad_weights, "latent_channels"},
        Change{kVae, "surprise", true, ErrorCode::unsupported, "surprise"},
        Change{kIndex, "_class_name", "LTX2Pipeline", ErrorCode::unsupported, "LTX-2"},
        Change{kIndex, "_class_name", "FluxPipeline", ErrorCode::unsupported, "FluxPipeline"}));

TEST(ModelSpec, SchedulersThatAreNotImplementedAreRefused) {
  for (const auto& [key, value, words] :
       std::vector<std::tuple<const char*, json, const char*>>{{"_class_name", "DDIMScheduler", "DDIMScheduler"},
                                                               {"use_karras_sigmas", true, "use_karras_sigmas"},
                                                               {"stochastic_sampling", true, "stochastic_sampling"},
                                                               {"time_shift_type", "linear", "time_shift_type"},
                                                               {"num_train_timesteps", 500, "num_train_timesteps"},
                                                               {"shift", -1.0, "shift"},
                                                               {"max_image_seq_len", 256, "max_image_seq_len"}}) {
    ModelCopy model;
    model.set(kIndex, "_class_name", "LTXPipeline").set(kScheduler, key, value);
    expect_error(std::string(key) == "shift" || std::string(key) == "max_image_seq_len" ? ErrorCode::bad_weights
                                                                                        : ErrorCode::unsupported,
                 words, [&] { load(model); });
  }
}

TEST(ModelSpec, PartsThatDoNotFitEachOtherAreNamedBoth) {
  {
    ModelCopy model;
    model.set(kTransformer, "in_channels", 16).set(kTransformer, "out_channels", 16);
    expect_error(ErrorCode::bad_weights, "16 latent channels does not fit the VAE's 8", [&] { load(model); });
  }
  {
    ModelCopy model;
    model.set(kTransformer, "caption_channels", 48);
    expect_error(ErrorCode::bad_weights, "caption width 48 does not fit the text encoder's 24", [&] { load(model); });
  }
}

TEST(ModelSpec, AModelsOwnDescriptionSetsNameAndPreset) {
  ModelCopy model;
  model.write(
      "ltxv.json",
      R"({"name": "mine", "preset": {"width": 96, "height": 64, "num_frames": 9, "sigmas": [1, 0.5], "seed": 3}})");
  const auto spec = load(model);
  EXPECT_EQ(spec.name, "mine");
  EXPECT_EQ(spec.preset("").width, 96);
  EXPECT_EQ(spec.preset("").sigmas, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(spec.preset("").seed, 3u);
  model.write("ltxv.json", R"({"preset": {"widht": 96}})");
  expect_error(ErrorCode::unsupported, "widht", [&] { load(model); });
  model.write("ltxv.json", R"({"preset": {"sigmas": [0.5, 1]}})");
  EXPECT_THROW(load(model), Error);
  model.write("ltxv.json", R"({"preset": {"frame_rate": 0}})");
  expect_error(ErrorCode::bad_weights, "frame_rate", [&] { load(model); });
}

}  // namespace
}  // namespace ltxv
