// Whole runs of the engine against diffusers' pipelines on the same model, draws and conditions.
#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

using test::GoldenRun;
constexpr double kTolerance = 1e-4;  // of the deviation; a mistake in any part shows as 1e-2 or more

struct Job {
  const char* name;
  int64_t frames, steps;
  double guidance, rescale, image_noise;
  std::vector<double> sigmas;
};

class EngineGoldenRun : public ::testing::TestWithParam<Job> {};

TEST_P(EngineGoldenRun, EqualsDiffusersConditionPipeline) {
  const Job& job = GetParam();
  const test::Golden golden("pipelines");
  auto request = test::small_request(job.frames, job.steps);
  request.sigmas = job.sigmas;
  request.guidance_scale = job.guidance;
  request.guidance_rescale = job.rescale;
  request.image_noise_scale = job.image_noise;
  request.decode_timestep = 0.05, request.decode_noise_scale = 0.025;
  GoldenRun run(golden, job.name, std::move(request));
  const std::string name = job.name;
  const bool pixels = golden.has(name + "/pixels");
  if (!pixels)
    run.request.decode_noise_scale =
        0.0;  // these runs of the reference ended with latents and drew nothing for the decoder

  const auto result = test::open_tiny()->generate(run.request);
  EXPECT_MATCHES(result.latents, golden[name + "/latents"], kTolerance);
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, job.frames, 64, 96}));
  if (pixels) {
    const auto sample = result.frames.slice(3, 0, 64, 5).slice(4, 0, 96, 7);
    EXPECT_MATCHES(sample, golden[name + "/pixels"], kTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EngineGoldenRun,
                         ::testing::Values(Job{"t2v", 17, 4, 3, 0, 0, {}}, Job{"t2v_rescale", 17, 3, 3, 0.7, 0, {}},
                                           Job{"t2v_distilled", 9, 0, 1, 0, 0, {1.0, 0.9937, 0.725, 0.4219}},
                                           Job{"i2v", 17, 4, 3, 0, 0, {}}, Job{"i2v_noise", 17, 4, 3, 0, 0.15, {}},
                                           Job{"i2v_soft", 17, 5, 3, 0, 0.15, {}},
                                           Job{"keyframes", 17, 4, 3, 0, 0.15, {}},
                                           Job{"late_only", 17, 3, 3, 0, 0, {}}, Job{"clip_prefix", 25, 3, 3, 0, 0, {}},
                                           Job{"clip_middle", 33, 3, 3, 0, 0.15, {}}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(EngineGolden, ShiftedScheduleAndPlainCoordinatesEqualLtxPipeline) {
  const test::Golden golden("plain_pipeline");
  test::ModelCopy model;
  model.shift_schedule().set("transformer/config.json", "causal_temporal_positioning", false);
  const auto engine = Engine::open({.model = model.path(), .dtype = "fp32", .thread_count = 2});
  for (const auto& [job, steps, rescale] : {std::tuple{"t2v", 4, 0.0}, {"rescale", 3, 0.7}}) {
    GoldenRun run(golden, job, test::small_request(17, steps));
    // This pipeline of diffusers leaves the padding mask out of T5: other embeddings, given as files.
    for (const std::string text : {"positive", "negative"}) {
      const auto path = run.folder / (text + ".safetensors");
      save_tensors(path, {{"prompt_embeds", golden["in_" + text + "_embeds"]},
                          {"prompt_attention_mask", golden["in_" + text + "_mask"]}});
      (text == "positive" ? run.request.prompt_embeds_path : run.request.negative_prompt_embeds_path) = path;
    }
    run.request.guidance_rescale = rescale;
    const bool pixels = golden.has(std::string(job) + "/pixels");
    run.request.decode_timestep = 0.05, run.request.decode_noise_scale = pixels ? 0.025 : 0.0;
    const auto result = engine->generate(run.request);
    EXPECT_MATCHES(result.latents, golden[std::string(job) + "/latents"], kTolerance) << job;
    if (pixels) {
      EXPECT_MATCHES(result.frames.slice(3, 0, 64, 5).slice(4, 0, 96, 7), golden[std::string(job) + "/pixels"],
                     kTolerance)
          << job;
    }
  }
}

TEST(EngineGolden, EncodeEqualsDiffusers) {
  const test::Golden golden("pipelines");
  const auto engine = test::open_tiny();
  for (const std::string job : {"i2v", "clip_prefix", "clip_middle"})
    EXPECT_MATCHES(engine->encode(test::full_frames(golden[job + "/in_frames_0"])),
                   golden[job + "/condition_latents_0"], kTolerance)
        << job;
}

TEST(EngineGolden, EmbedEqualsTransformers) {
  const test::Golden golden("t5");
  const auto engine = test::open_tiny();
  const std::map<std::string, std::string> prompts = {
      {"prompt", test::kPrompt},
      {"negative", "worst quality, inconsistent motion, blurry, jittery, distorted"},
      {"empty", ""}};
  for (const auto& [job, prompt] : prompts) {
    const auto embeds = engine->embed(prompt, 40);
    EXPECT_TRUE(at::equal(embeds.mask, golden[job + "/in_mask"])) << job;
    EXPECT_MATCHES(embeds.embeds, golden[job + "/embeds"], kTolerance) << job;
  }
}

TEST(EngineGolden, ASeedIsTorchsSeed) {
  const test::Golden golden("noise");
  const auto engine = test::open_tiny();
  const test::TempFolder folder;
  auto request = test::small_request(9, 1);
  request.seed = 171198;  // the golden's first draw: [1,8,2,2,3]
  request.save_noise_path = folder / "noise.safetensors";
  engine->generate(request);
  EXPECT_TRUE(at::equal(test::tensors_of(request.save_noise_path).at("initial"), golden["171198/first"]));
}

TEST(EngineGolden, Bf16StaysNear) {
  const test::Golden golden("pipelines");
  const auto request = [&] {
    auto r = test::small_request(17, 4);
    r.guidance_scale = 3;
    return r;
  };
  GoldenRun run(golden, "t2v", request());
  const auto latents = test::open_tiny("bf16")->generate(run.request).latents;
  // 0.01 a forward, amplified by guidance 3 (3 c - 2 u: 3.6 times for independent errors), over four steps.
  EXPECT_LE(test::relative_rms(latents, golden["t2v/latents"]), 0.06);
  EXPECT_GT(test::relative_rms(latents, golden["t2v/latents"]), 1e-4) << "this is not bf16";
}

}  // namespace
}  // namespace ltxv
