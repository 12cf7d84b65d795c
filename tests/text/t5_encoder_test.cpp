// The T5 encoder against transformers.
#include "text/t5_encoder.h"

#include "support/expect_error.h"
#include "support/resident.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ltxv {
namespace {

using test::expect_error;
using Tensors = std::map<std::string, at::Tensor>;

Tensors tiny_tensors() {
  const auto source = open_component_folder(test::golden_path("tiny_model/text_encoder"));
  Tensors tensors;
  for (const auto& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  return tensors;
}

T5Encoder build(const Tensors& tensors, at::ScalarType dtype = at::kFloat) {
  const test::TempFolder folder;
  save_tensors(folder / "model.safetensors", tensors);
  Parameters parameters(open_tensors(folder / "model.safetensors", FileAccess::copy), KeyMap(), dtype, "text encoder");
  return T5Encoder(test::tiny_t5_config(), parameters);
}

T5Encoder tiny_encoder(at::ScalarType dtype = at::kFloat) {
  auto parameters = test::tiny_parameters("text_encoder", dtype);
  return T5Encoder(test::tiny_t5_config(), parameters);
}

TEST(T5Encoder, EmbeddingsEqualTransformers) {
  const test::Golden golden("t5");
  const auto encoder = tiny_encoder();
  for (const std::string job : {"prompt", "negative", "empty"}) {
    const auto embeds = encoder.forward(golden[job + "/in_ids"], golden[job + "/in_mask"], {});
    // Every position, padding included: it attends to the text's tokens in the reference too.
    EXPECT_MATCHES(embeds, golden[job + "/embeds"], 1e-5) << job;
  }
}

TEST(T5Encoder, PaddingDoesNotReachTheText) {
  const test::Golden golden("t5");
  const auto encoder = tiny_encoder();
  const auto ids = golden["prompt/in_ids"], mask = golden["prompt/in_mask"];
  const int64_t length = mask.sum().item<int64_t>();
  const auto alone = encoder.forward(ids.narrow(1, 0, length), mask.narrow(1, 0, length), {});
  EXPECT_MATCHES(alone, golden["prompt/embeds"].narrow(1, 0, length), 1e-5);
  // Without the mask the result is another one: what diffusers' older pipelines compute.
  const auto unmasked = encoder.forward(ids, at::ones_like(mask), {}).narrow(1, 0, length);
  EXPECT_GT(test::error_over_deviation(unmasked, golden["prompt/embeds"].narrow(1, 0, length)), 0.1);
}

// Layers of 8 or 16 MiB: after a call none of it is in memory, and another call reads it again. Small matrices are copied, so these are not.
TEST(T5Encoder, AMappedLayerTakesMemoryOnlyWhileItIsUsed) {
  const c10::InferenceMode inference;
  T5Config config;
  config.vocabulary = 4096, config.width = 1024, config.head_count = 16, config.feed_forward_width = 1024, config.layer_count = 6;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, generator, at::TensorOptions()).mul_(0.02); };
  Tensors tensors{{"shared.weight", draw({4096, 1024})},
                  {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", draw({32, 16})},
                  {"encoder.final_layer_norm.weight", draw({1024})}};
  for (int i = 0; i < config.layer_count; ++i) {
    const std::string block = text("encoder.block.", i, ".layer.");
    tensors[block + "0.layer_norm.weight"] = draw({1024});
    tensors[block + "1.layer_norm.weight"] = draw({1024});
    for (const char* name : {"q", "k", "v", "o"}) tensors[text(block, "0.SelfAttention.", name, ".weight")] = draw({1024, 1024});
    for (const char* name : {"wi_0", "wi_1", "wo"}) tensors[text(block, "1.DenseReluDense.", name, ".weight")] = draw({1024, 1024});
  }
  const auto ids = at::arange(40).unsqueeze(0), mask = at::ones({1, 40}, at::kLong);
  for (const auto stored : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const test::TempFolder folder;
    for (auto& [name, tensor] : tensors) tensor = tensor.to(stored);
    save_tensors(folder / "model.safetensors", tensors);
    for (const auto dtype : {at::kBFloat16, at::kFloat}) {
      if (stored == at::kFloat && dtype == at::kFloat) continue;  // transposed into memory at this size (nn/layers.cpp)
      const auto run = [&](FileAccess access) {
        Parameters parameters(open_tensors(folder / "model.safetensors", access), KeyMap(), dtype, "text encoder");
        const T5Encoder encoder(config, parameters);
        const auto before = test::resident_kib("RssFile");
        const auto embeds = encoder.forward(ids, mask, {});
        if (access == FileAccess::map) {
          EXPECT_LT(test::resident_kib("RssFile") - before, 24 << 10) << stored << " as " << dtype;
          EXPECT_TRUE(encoder.forward(ids, mask, {}).equal(embeds)) << stored << " as " << dtype;
        }
        return embeds;
      };
      // Converted in pieces, or all at once.
      EXPECT_MATCHES(run(FileAccess::map), run(FileAccess::copy), dtype == at::kFloat ? 1e-5 : 1e-2) << stored << " as " << dtype;
    }
  }
}

TEST(T5Encoder, PositionBucketsEqualTransformers) {
  const test::Golden golden("t5");
  for (const auto& [count, distance] : {std::pair<int64_t, int64_t>{32, 128}, {8, 20}}) {
    auto config = test::tiny_t5_config();
    config.bucket_count = count, config.bucket_max_distance = distance;
    const auto expected = golden["buckets_" + std::to_string(count) + "_" + std::to_string(distance) +
                                 "/buckets"];  // key - query: -300 … 300
    const auto buckets = t5_position_buckets(301, config);
    EXPECT_TRUE(at::equal(buckets[300], expected.narrow(0, 0, 301)));  // the last query sees keys -300 … 0
    EXPECT_TRUE(at::equal(buckets[0], expected.narrow(0, 300, 301)));  // the first sees 0 … 300
    EXPECT_TRUE(at::equal(buckets[120], expected.narrow(0, 180, 301)));
  }
}

TEST(T5Encoder, EitherNameOfTheEmbeddingWillDo) {
  const test::Golden golden("t5");
  auto tensors = tiny_tensors();
  const auto embeds = [&](const Tensors& t) {
    return build(t).forward(golden["prompt/in_ids"], golden["prompt/in_mask"], {});
  };
  const auto expected = golden["prompt/embeds"];
  tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"];
  EXPECT_MATCHES(embeds(tensors), expected, 1e-5);
  tensors.erase("shared.weight");
  EXPECT_MATCHES(embeds(tensors), expected, 1e-5);
  tensors.erase("encoder.embed_tokens.weight");
  expect_error(ErrorCode::bad_weights, "embed_tokens", [&] { build(tensors); });
}

TEST(T5Encoder, ReducedPrecisionStaysNear) {
  const test::Golden golden("t5");
  const int64_t length = golden["prompt/in_mask"].sum().item<int64_t>();
  const auto embeds = tiny_encoder(at::kBFloat16).forward(golden["prompt/in_ids"], golden["prompt/in_mask"], {});
  EXPECT_EQ(embeds.scalar_type(), at::kBFloat16);
  // Eight significant bits through two layers: a few roundings of 2^-9 each.
  EXPECT_LE(test::relative_rms(embeds.narrow(1, 0, length), golden["prompt/embeds"].narrow(1, 0, length)), 0.02);
}

TEST(T5Encoder, IdsOfAnotherTokenizerAreRefused) {
  const auto encoder = tiny_encoder();
  const auto encode = [&](int64_t id) {
    encoder.forward(at::full({1, 2}, id, at::kLong), at::ones({1, 2}, at::kLong), {});
  };
  EXPECT_NO_THROW(encode(303));
  expect_error(ErrorCode::invalid_argument, "vocabulary of 304", [&] { encode(304); });
  expect_error(ErrorCode::invalid_argument, "vocabulary", [&] { encode(-1); });
}

TEST(T5Encoder, CancelledBetweenLayers) {
  const auto encoder = tiny_encoder();
  const auto token = std::make_shared<CancelToken>();
  token->trip();
  const RunContext run(RunHooks{.cancel = token});
  expect_error(ErrorCode::cancelled, "cancelled", [&] {
    encoder.forward(at::ones({1, 2}, at::kLong), at::ones({1, 2}, at::kLong), run);
  });
}

TEST(T5Encoder, MissingLeftOverAndDamagedTensorsAreNamed) {
  auto tensors = tiny_tensors();
  tensors["decoder.block.0.layer.0.SelfAttention.q.weight"] = at::zeros({16, 24});
  expect_error(ErrorCode::bad_weights, "decoder.block.0", [&] { build(tensors); });
  tensors = tiny_tensors();
  tensors.erase("encoder.block.1.layer.1.DenseReluDense.wi_1.weight");
  expect_error(ErrorCode::bad_weights, "encoder.block.1.layer.1.DenseReluDense.wi_1.weight", [&] { build(tensors); });
  tensors = tiny_tensors();
  tensors["encoder.final_layer_norm.weight"][5] = std::nan("");
  expect_error(ErrorCode::numeric, "encoder.final_layer_norm.weight", [&] { build(tensors); });
}

}  // namespace
}  // namespace ltxv
