// Models in narrow weights, as other tools write the files, against diffusers and transformers on the same widened weights.
#include <nlohmann/json.hpp>

#include "pipeline/engine_fixture.h"
#include "pipeline/spec_files.h"
#include "text/t5_encoder.h"
#include "transformer/transformer.h"
#include "weights/parameters.h"

namespace ltxv::test {
namespace {

constexpr double kTolerance = 1e-4;

at::Tensor velocity(const std::string& file, at::ScalarType dtype = at::kFloat) {
  const Golden golden("narrow/models");
  TransformerConfig config;
  config.in_channels = config.out_channels = 8;
  config.head_count = 2, config.head_width = 16;
  config.layer_count = 2;
  config.caption_channels = 32;
  Parameters parameters(open_tensors(golden_path(file)), original_transformer_names(), dtype, "transformer");
  const Transformer transformer(config, parameters);
  EXPECT_EQ(transformer.dtype(), dtype);
  const auto prompt = transformer.prepare_prompt(golden["in_embeds"], at::ones({1, 5}, at::kLong));
  const auto rope = make_rope_table(golden["in_positions"], config);
  const auto tokens = golden["in_tokens"], sigmas = golden["in_sigmas"];
  return transformer.forward({tokens, transformer.noise_levels(sigmas), rope, {&prompt}}, {});
}

at::Tensor embeds(const std::string& file, at::ScalarType dtype = at::kFloat) {
  const Golden golden("narrow/models");
  const auto source = open_tensors(golden_path(file));
  const T5Config config = t5_config_from_tensors(*source);
  EXPECT_EQ(config.width, 32);
  EXPECT_EQ(config.layer_count, 2);
  EXPECT_EQ(config.vocabulary, 64);
  Parameters parameters(source, t5_names(), dtype, "text encoder");
  const T5Encoder encoder(config, parameters);
  const auto ids = golden["in_ids"];
  return encoder.forward(ids, at::ones_like(ids), {});
}

TEST(NarrowWeights, AGgufTransformerEqualsDiffusers) {
  const Golden golden("narrow/models");
  EXPECT_MATCHES(velocity("narrow/transformer.gguf"), golden["gguf/velocity"], kTolerance);
  EXPECT_GT(error_over_deviation(golden["plain/velocity"], golden["gguf/velocity"]), 100 * kTolerance);  // the codes do matter
}

TEST(NarrowWeights, AGgufTextEncoderEqualsTransformers) {
  const Golden golden("narrow/models");
  EXPECT_MATCHES(embeds("narrow/t5.gguf"), golden["gguf/embeds"], kTolerance);
}

TEST(NarrowWeights, AnFp8TransformerEqualsDiffusers) {
  const Golden golden("narrow/models");
  EXPECT_MATCHES(velocity("narrow/transformer_fp8.safetensors"), golden["fp8/velocity"], kTolerance);
}

TEST(NarrowWeights, AScaledTextEncoderEqualsTransformers) {
  const Golden golden("narrow/models");
  EXPECT_MATCHES(embeds("narrow/t5_scaled.safetensors"), golden["scaled/embeds"], kTolerance);
}

TEST(NarrowWeights, Bf16StaysWithinItsRounding) {
  const Golden golden("narrow/models");
  for (const char* file : {"narrow/transformer.gguf", "narrow/transformer_fp8.safetensors"}) {
    const auto expected = golden[std::string(file).ends_with("gguf") ? "gguf/velocity" : "fp8/velocity"];
    EXPECT_LT(relative_rms(velocity(file, at::kBFloat16), expected), 0.03) << file;  // measured noise of bf16: below 0.02
  }
}

/// The tensors of a file, widened, in a safetensors file.
std::string write_widened(const TempFolder& folder, const std::string& from) {
  const auto source = open_tensors(from);
  std::map<std::string, at::Tensor> tensors;
  for (const TensorEntry& entry : source->entries())
    tensors[entry.name] = is_block_type(entry.type) ? widened(entry) : to_tensor(entry, source).to(at::kFloat);
  save_tensors(folder / "widened.safetensors", tensors);
  return folder / "widened.safetensors";
}

// A run through the engine: a GGUF transformer, described by a release of its own, with a VAE from a folder.
TEST(NarrowWeights, AGgufCheckpointGenerates) {
  const TempFolder folder;
  const auto release = folder.write("tiny.json", R"({"name": "tiny", "base": "ltxv-0.9.5+", "transformer": {"_class_name": "Transformer3DModel",
    "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "cross_attention_dim": 32,
    "caption_channels": 32}})");
  const Golden golden("narrow/models");
  save_tensors(folder / "prompt.safetensors",
               {{"prompt_embeds", golden["in_embeds"]}, {"prompt_attention_mask", at::ones({1, 5}, at::kLong)}});
  Request request = small_request(9, 2);
  request.prompt_embeds_path = folder / "prompt.safetensors";
  request.guidance_scale = 1;
  const auto run = [&](const std::string& model) {
    const auto engine = Engine::open({.model = model, .vae = golden_path("tiny_model/vae"), .release = release, .dtype = "fp32", .thread_count = 2});
    EXPECT_EQ(engine->spec().release, "tiny");
    return engine->generate(request);
  };
  const auto narrow = run(golden_path("narrow/transformer.gguf"));
  const auto wide = run(write_widened(folder, golden_path("narrow/transformer.gguf")));
  EXPECT_MATCHES(narrow.latents, wide.latents, kTolerance);
  EXPECT_MATCHES(narrow.frames, wide.frames, kTolerance);
}

TEST(NarrowWeights, PartsOfAModelMayBeGguf) {
  const TempFolder folder;
  // The tiny model's transformer is not as wide as the one in the file: named at open, with both numbers.
  const auto open = [&](const EngineOptions& options) { Engine::open(options); };
  expect_error(ErrorCode::bad_weights, "caption width 24 does not fit the text encoder's 32", [&] {
    open({.model = golden_path("tiny_model"), .text_encoder = golden_path("narrow/t5.gguf"), .tokenizer = golden_path("tiny_model/tokenizer")});
  });
  EXPECT_NE(inspect(golden_path("narrow/t5.gguf")).find("T5 text encoder"), std::string::npos);
  EXPECT_NE(inspect(golden_path("narrow/transformer.gguf")).find("LTX-Video transformer"), std::string::npos);
}

}  // namespace
}  // namespace ltxv::test
