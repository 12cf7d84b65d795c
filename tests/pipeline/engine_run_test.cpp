// How runs behave: repeatability, files of draws, latents and embeddings, progress, cancelling.
#include <nlohmann/json.hpp>

#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

using test::expect_error;

class EngineRun : public ::testing::Test {
 protected:
  std::shared_ptr<Engine> engine_ = test::open_tiny();
  test::TempFolder folder_;
};

TEST_F(EngineRun, TheSameSeedGivesTheSameBytes) {
  const auto request = test::small_request(9, 2);
  const auto a = engine_->generate(request), b = engine_->generate(request);
  EXPECT_TRUE(at::equal(a.frames, b.frames));
  auto other = request;
  other.seed = 2;
  EXPECT_FALSE(at::equal(engine_->generate(other).latents, a.latents));
}

TEST_F(EngineRun, SavedNoiseReproducesTheRunWithoutItsSeed) {
  auto request = test::small_request(17, 3);
  save_tensors(folder_ / "image.safetensors", {{"frames", at::rand({1, 3, 1, 64, 96}) * 2 - 1}});
  request.conditions = {{folder_ / "image.safetensors", 0, 1.0}, {folder_ / "image.safetensors", 9, 0.5}};
  request.image_noise_scale = 0.15;
  request.save_noise_path = folder_ / "noise.safetensors";
  const auto first = engine_->generate(request);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : test::tensors_of(request.save_noise_path)) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"condition_00", "decode", "image_step_00", "image_step_01",
                                             "image_step_02", "initial"}));

  request.noise_path = request.save_noise_path;
  request.save_noise_path = "";
  request.seed = 999;
  const auto second = engine_->generate(request);
  EXPECT_TRUE(at::equal(first.latents, second.latents));
  EXPECT_TRUE(at::equal(first.frames, second.frames));
}

TEST_F(EngineRun, SavedLatentsDecodeToTheSameFrames) {
  auto request = test::small_request(9, 2);
  request.decode_noise_scale = 0.0;
  request.save_latents_path = folder_ / "latents.safetensors";
  const auto result = engine_->generate(request);
  const auto latents = test::tensors_of(request.save_latents_path).at("latents");
  EXPECT_TRUE(at::equal(latents, result.latents));
  EXPECT_TRUE(at::equal(engine_->decode(latents, {.noise_scale = 0}), result.frames));
}

TEST_F(EngineRun, EmbeddingsFromAFileAreThePrompt) {
  auto request = test::small_request(9, 2);
  const auto expected = engine_->generate(request).latents;
  for (const auto& [text, path] : {std::pair<std::string, std::string>{request.prompt, "positive"},
                                   {engine_->spec().preset("").negative_prompt, "negative"}}) {
    const auto embeds = engine_->embed(text, 0);
    save_tensors(folder_ / (path + ".safetensors"),
                 {{"prompt_embeds", embeds.embeds}, {"prompt_attention_mask", embeds.mask}});
  }
  request.prompt = "something else";
  request.negative_prompt = "something else";
  request.prompt_embeds_path = folder_ / "positive.safetensors";
  request.negative_prompt_embeds_path = folder_ / "negative.safetensors";
  EXPECT_MATCHES(engine_->generate(request).latents, expected, 1e-5);
}

TEST_F(EngineRun, TheNegativePromptActsOnlyWithGuidance) {
  auto request = test::small_request(9, 2);
  const auto latents = [&](double guidance, const std::string& negative) {
    request.guidance_scale = guidance;
    request.negative_prompt = negative;
    return engine_->generate(request).latents;
  };
  EXPECT_TRUE(at::equal(latents(1, "a"), latents(1, "b")));
  EXPECT_FALSE(at::equal(latents(3, "a"), latents(3, "b")));
}

TEST_F(EngineRun, ShapesOffTheGridComeBackAsAsked) {
  auto request = test::small_request(10, 1);
  request.width = 100, request.height = 33;
  const auto result = engine_->generate(request);
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 10, 33, 100}));
  EXPECT_EQ(result.latents.sizes(), at::IntArrayRef({1, 8, 3, 2, 4}));
  // The middle of what was computed: (64 - 33) / 2 = 15 rows above, 14 columns to the left.
  auto whole = request;
  whole.frame_count = 17, whole.height = 64, whole.width = 128;
  const auto padded = engine_->generate(whole);
  EXPECT_TRUE(at::equal(result.frames, padded.frames.narrow(2, 0, 10).narrow(3, 15, 33).narrow(4, 14, 100)));
}

TEST_F(EngineRun, OneFrameIsAnImage) {
  const auto result = engine_->generate(test::small_request(1, 1));
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 1, 64, 96}));
}

TEST_F(EngineRun, ProgressRunsThroughItsStagesInOrder) {
  std::vector<Progress> seen;
  auto request = test::small_request(9, 3);
  save_tensors(folder_ / "image.safetensors", {{"frames", at::zeros({1, 3, 1, 64, 96})}});
  request.conditions = {{folder_ / "image.safetensors", 0, 1.0}};
  engine_->generate(request, {.on_progress = [&](const Progress& p) { return seen.push_back(p), true; }});
  ASSERT_FALSE(seen.empty());
  int64_t denoised = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_LE(seen[i].step, seen[i].step_count);
    if (i > 0) {
      EXPECT_GE(static_cast<int>(seen[i].stage), static_cast<int>(seen[i - 1].stage));
    }
    if (seen[i].stage == Stage::denoise) denoised = seen[i].step;
  }
  EXPECT_EQ(denoised, 3);
  EXPECT_EQ(seen.back().stage, Stage::decode);
}

TEST_F(EngineRun, ProgressOfARunIntoAFileIsInOrderToo) {
  std::vector<Progress> seen;
  generate_to_file(*engine_, test::small_request(9, 2), folder_ / "out.gif", {.on_progress = [&](const Progress& p) { return seen.push_back(p), true; }});
  ASSERT_FALSE(seen.empty());
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GE(static_cast<int>(seen[i].stage), static_cast<int>(seen[i - 1].stage)) << i;
  EXPECT_EQ(seen.back().stage, Stage::write);
}

TEST_F(EngineRun, CancelledAnywhereTheEngineStaysUsable) {
  auto request = test::small_request(9, 3);
  const auto expected = engine_->generate(request).latents;
  int total = 0;
  engine_->generate(request, {.on_progress = [&](const Progress&) { return ++total, true; }});
  ASSERT_GE(total, 6);
  request.save_latents_path = folder_ / "latents.safetensors";
  request.save_noise_path = folder_ / "noise.safetensors";
  for (int stop = 1; stop <= total; ++stop) {
    int calls = 0;
    expect_error(ErrorCode::cancelled, "cancelled",
                 [&] { engine_->generate(request, {.on_progress = [&](const Progress&) { return ++calls < stop; }}); });
    EXPECT_EQ(calls, stop) << "the run went on after being stopped";
    EXPECT_FALSE(std::filesystem::exists(request.save_noise_path)) << "stopped at " << stop;
  }
  request.save_latents_path = request.save_noise_path = "";
  EXPECT_TRUE(at::equal(engine_->generate(request).latents, expected));
}

TEST_F(EngineRun, ATokenTrippedByAnotherPartStopsTheRun) {
  const auto token = std::make_shared<CancelToken>();
  int calls = 0;
  expect_error(ErrorCode::cancelled, "cancelled", [&] {
    engine_->generate(
        test::small_request(9, 4),
        {.on_progress = [&](const Progress&) { return ++calls == 3 ? token->trip() : void(), true; }, .cancel = token});
  });
  EXPECT_EQ(calls, 3);
}

TEST_F(EngineRun, ALongPromptIsCutAndSaysSo) {
  std::vector<std::string> warnings;
  const RunHooks hooks{.on_log = [&](LogLevel level, const std::string& m) {
    if (level == LogLevel::warning) warnings.push_back(m);
  }};
  std::string words;
  for (int i = 0; i < 100; ++i) words += "red circle ";
  EXPECT_EQ(engine_->embed(words, 16, hooks).embeds.size(1), 16);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("16 tokens"), std::string::npos) << warnings[0];
  engine_->embed("red circle", 16, hooks);
  EXPECT_EQ(warnings.size(), 1u);
}

TEST_F(EngineRun, DescriptionNamesPartsDtypesAndParameters) {
  const auto j = nlohmann::json::parse(engine_->describe_json());
  EXPECT_EQ(j["model"], "tiny_model");
  EXPECT_EQ(j["parts"]["transformer"]["parameters"], 29968);  // counted by torch when the model was made
  EXPECT_EQ(j["parts"]["text_encoder"]["parameters"], 15736);
  EXPECT_EQ(j["parts"]["vae_decoder"]["stored"], "BF16");
  EXPECT_EQ(j["parts"]["vae_decoder"]["compute"], "fp32");
  EXPECT_EQ(j["threads"], 2);
  EXPECT_EQ(j["quantization"], "none");
  EXPECT_EQ(j["attention"], "exact");
}

TEST_F(EngineRun, FramesThroughAFileAreExact) {
  const auto frames = engine_->generate(test::small_request(9, 1)).frames;
  write_frames(folder_ / "out.safetensors", frames, 25, "{\"a\": 1}");
  EXPECT_TRUE(at::equal(read_frames(folder_ / "out.safetensors", nullptr, nullptr), frames));
  EXPECT_EQ(open_tensors(folder_ / "out.safetensors")->metadata().at("ltxv"), "{\"a\": 1}");
}

TEST_F(EngineRun, CopiedFilesGiveWhatMappedOnesGive) {
  const auto request = test::small_request(9, 1);
  const auto copying =
      Engine::open({.model = test::golden_path("tiny_model"), .dtype = "fp32", .thread_count = 2, .copy_files = true});
  EXPECT_TRUE(at::equal(copying->generate(request).frames, engine_->generate(request).frames));
}

}  // namespace
}  // namespace ltxv
