// The engine on a device. Tests run on a stand-in (support/fake_device.h): its results are the CPU's, tensors of two devices in one
// operation are refused, and waits of the host are counted. What only a GPU can show is in tests/gpu.
#include <nlohmann/json.hpp>

#include <thread>

#include "base/transfer.h"
#include "pipeline/engine_fixture.h"
#include "support/fake_device.h"
#include "support/made_upsampler.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr double kTolerance = 1e-4;  // of the deviation: on the device every op runs its reference variant
constexpr int64_t kGiB = int64_t{1} << 30;

class EngineDevice : public ::testing::Test {
 protected:
  // On the device; on the CPU with memory 0.
  static std::shared_ptr<Engine> open(int64_t memory_bytes, EngineOptions options = {}) {
    if (options.model.empty()) options.model = test::golden_path("tiny_model");
    options.dtype = "fp32";
    options.thread_count = 2;
    if (memory_bytes == 0) return Engine::open_on(options, {ComputeDevice{}});
    return Engine::open_on(options, {ComputeDevice{.device = test::fake_device(), .name = "stand-in", .memory_bytes = memory_bytes}});
  }
  /// The same on both, with blocks resident and with blocks that take turns.
  void expect_equal(const Request& request, const EngineOptions& options = {}) {
    const auto expected = open(0, options)->generate(request);
    for (const int64_t memory : {80 * kGiB, kTiny}) {
      const auto engine = open(memory, options);
      const auto result = engine->generate(request);
      EXPECT_TRUE(result.latents.is_cpu() && result.frames.is_cpu());
      EXPECT_MATCHES(result.latents, expected.latents, kTolerance) << memory;
      EXPECT_MATCHES(result.frames, expected.frames, kTolerance) << memory;
      // Once more with what stayed loaded, or was let go of.
      EXPECT_TRUE(at::equal(engine->generate(request).latents, result.latents)) << memory;
    }
  }
  /// Several devices that compute each prediction together; memory 0: the CPU as often.
  static std::shared_ptr<Engine> open_several(int count, int64_t memory_bytes, EngineOptions options = {}) {
    options.model = test::golden_path("tiny_model");
    options.dtype = "fp32";
    options.thread_count = 2;
    std::vector<ComputeDevice> devices(static_cast<size_t>(count));
    for (int i = 0; i < count && memory_bytes > 0; ++i)
      devices[static_cast<size_t>(i)] = {.device = test::fake_device(i), .name = "stand-in", .memory_bytes = memory_bytes};
    return Engine::open_on(options, devices);
  }
  std::string image(int64_t frames = 1) {
    const auto path = folder_ / ("image" + std::to_string(frames) + ".safetensors");
    save_tensors(path, {{"frames", at::rand({1, 3, frames, 64, 96}) * 2 - 1}});
    return path;
  }

  static constexpr int64_t kTiny = 1 << 20;  // less than the device's own needs: everything takes turns
  test::TempFolder folder_;
};

TEST_F(EngineDevice, TheStandInRefusesTwoDevicesAndCountsWaits) {
  const auto x = at::ones({3}).to(test::fake_device());
  EXPECT_THROW(x + at::ones({3}), c10::Error);
  EXPECT_THROW(x + x.to(test::fake_device(1)), c10::Error);
  EXPECT_EQ((x + 1).to(at::kCPU).sum().item<float>(), 6);
  const auto before = test::fake_device_counts().waits;
  EXPECT_EQ(x.sum().item<float>(), 3);
  EXPECT_EQ(test::fake_device_counts().waits, before + 1);
}

TEST_F(EngineDevice, TextToVideoEqualsTheCpu) {
  auto request = test::small_request(17, 3);
  request.guidance_scale = 3;
  request.guidance_rescale = 0.7;
  expect_equal(request);
}

TEST_F(EngineDevice, ConditionsGuidanceListsAndStochasticStepsEqualTheCpu) {
  auto request = test::small_request(17, 3);
  request.conditions = {{image(), 0, 1.0}, {image(), 9, 0.5}};
  request.image_noise_scale = 0.15;
  request.guidance_timesteps = {1.0, 0.9};
  request.guidance_scales = {3, 1};
  request.stg_scales = {1, 0};
  request.skip_blocks = {{1}, {}};
  request.stochastic = true;
  for (const char* mode : {"attention_values", "attention_skip", "transformer_block"}) {
    request.stg_mode = mode;
    expect_equal(request);
  }
}

TEST_F(EngineDevice, VideoToVideoWithAMaskEqualsTheCpu) {
  auto request = test::small_request(9, 4);
  request.input_video_path = image(9);
  request.strength = 0.7;
  auto mask = at::zeros({1, 1, 9, 64, 96});
  mask.narrow(4, 0, 48).fill_(1);
  save_tensors(request.mask_path = folder_ / "mask.safetensors", {{"mask", mask}});
  request.composite = true;
  expect_equal(request);
}

TEST_F(EngineDevice, WindowsEqualTheCpu) {
  auto request = test::small_request(57, 0);
  request.sigmas = {1.0, 0.725, 0.4219};
  request.guidance_scale = 1;
  request.window = {.frame_count = 40, .overlap = 24};
  request.conditions = {{image(), 0, 0.5}};
  expect_equal(request);
}

TEST_F(EngineDevice, TwoPassesEqualTheCpu) {
  auto request = test::small_request(9, 0);
  request.width = 160, request.height = 128;
  request.sigmas = {1.0, 0.9937, 0.725};
  request.guidance_scale = 1;
  const UpsamplerConfig spatial{.channels = 8, .width = 32, .blocks_a_stage = 2};
  expect_equal(request, {.upscalers = {test::write_upsampler_file(folder_, "spatial.safetensors", spatial)}});
}

TEST_F(EngineDevice, ALoraIsMergedOnTheDeviceAndTakenAway) {
  auto request = test::small_request(9, 2);
  const auto plain = open(0)->generate(request).latents;
  const std::string module = "transformer.transformer_blocks.0.attn1.to_q";
  save_tensors(folder_ / "lora.safetensors", {{module + ".lora_A.weight", at::randn({4, 20})}, {module + ".lora_B.weight", at::randn({20, 4})}});
  request.loras = {{folder_ / "lora.safetensors", 0.5}};
  expect_equal(request);
  for (const int64_t memory : {80 * kGiB, kTiny}) {
    const auto engine = open(memory);
    EXPECT_GT(test::error_over_deviation(engine->generate(request).latents, plain), 1e-2);
    auto without = request;
    without.loras.clear();
    EXPECT_MATCHES(engine->generate(without).latents, plain, kTolerance);
  }
}

// On the device reference variants run, whose codes may differ by one where a value lies in the middle of two.
TEST_F(EngineDevice, QuantisedBlocksAreNearThoseOfTheCpu) {
  auto request = test::small_request(9, 2);
  const auto exact = open(0)->generate(request).latents;
  for (const char* type : {"int8", "fp8"}) {
    EngineOptions options;
    options.quantization = type;
    const auto expected = open(0, options)->generate(request).latents;
    const double lost = test::error_over_deviation(expected, exact);
    EXPECT_GT(lost, 1e-3) << type;
    EXPECT_LT(lost, 0.3) << type;
    for (const int64_t memory : {80 * kGiB, kTiny}) {
      const auto engine = open(memory, options);
      const auto latents = engine->generate(request).latents;
      EXPECT_LE(test::error_over_deviation(latents, expected), lost / 2) << type << " " << memory;
      EXPECT_TRUE(at::equal(engine->generate(request).latents, latents));
    }
  }
}

// The tiny model has two heads. With memory for all of it on each, with blocks that take turns on each, and on the CPU.
TEST_F(EngineDevice, SeveralDevicesGiveTheVideoOfOne) {
  auto request = test::small_request(17, 3);
  request.guidance_scale = 3;
  request.guidance_timesteps = {1.0, 0.9};  // two passes, then three
  request.guidance_scales = {3, 3};
  request.stg_scales = {0, 1};
  request.skip_blocks = {{}, {1}};
  request.conditions = {{image(), 0, 1.0}};
  request.image_noise_scale = 0.15;
  const auto expected = open(0)->generate(request);
  for (const int64_t memory : {int64_t{0}, 80 * kGiB, kTiny}) {
    const auto engine = open_several(2, memory);
    const auto result = engine->generate(request);
    EXPECT_MATCHES(result.latents, expected.latents, kTolerance) << memory;
    EXPECT_MATCHES(result.frames, expected.frames, kTolerance) << memory;
    EXPECT_TRUE(at::equal(engine->generate(request).latents, result.latents)) << memory;
    // Runs beside each other take turns: neither waits for a rank that the other one holds.
    at::Tensor beside;
    std::thread other([&] { beside = engine->generate(request).latents; });
    EXPECT_TRUE(at::equal(engine->generate(request).latents, result.latents)) << memory;
    other.join();
    EXPECT_TRUE(at::equal(beside, result.latents)) << memory;
  }
}

TEST_F(EngineDevice, SeveralDevicesAndALora) {
  auto request = test::small_request(9, 2);
  const std::string module = "transformer.transformer_blocks.0.attn1.to_q";
  save_tensors(folder_ / "lora.safetensors", {{module + ".lora_A.weight", at::randn({4, 20})}, {module + ".lora_B.weight", at::randn({20, 4})}});
  const auto plain = open(0)->generate(request).latents;
  request.loras = {{folder_ / "lora.safetensors", 0.5}};
  const auto expected = open(0)->generate(request).latents;
  const auto engine = open_several(2, 80 * kGiB);
  EXPECT_MATCHES(engine->generate(request).latents, expected, kTolerance);
  request.loras.clear();
  EXPECT_MATCHES(engine->generate(request).latents, plain, kTolerance);
}

TEST_F(EngineDevice, SeveralDevicesAreDescribedAndChecked) {
  const auto engine = open_several(2, 80 * kGiB);
  const std::string names = test::fake_device(0).str() + "," + test::fake_device(1).str();
  EXPECT_EQ(nlohmann::json::parse(engine->describe_json())["device"], names);
  EXPECT_EQ(nlohmann::json::parse(engine->generate(test::small_request(9, 1)).metadata_json)["device"], names);
  expect_error(ErrorCode::invalid_argument, "3 devices, which cannot share this model's 2 heads", [&] { open_several(3, 0); });
  EngineOptions graphs;
  graphs.cuda_graphs = true;
  expect_error(ErrorCode::invalid_argument, "2 devices share cannot be recorded", [&] { open_several(2, 80 * kGiB, graphs); });
}

TEST_F(EngineDevice, EmbedEncodeAndDecodeGiveHostTensors) {
  const auto pixels = at::rand({1, 3, 9, 64, 96}) * 2 - 1;
  const auto cpu = open(0);
  for (const int64_t memory : {80 * kGiB, kTiny}) {
    const auto engine = open(memory);
    const auto latents = engine->encode(pixels);
    EXPECT_MATCHES(latents, cpu->encode(pixels), kTolerance);
    EXPECT_MATCHES(engine->decode(latents, {.noise_scale = 0}), cpu->decode(latents, {.noise_scale = 0}), kTolerance);
    EXPECT_MATCHES(engine->embed(test::kPrompt, 32).embeds, cpu->embed(test::kPrompt, 32).embeds, kTolerance);
  }
}

TEST_F(EngineDevice, MoreStepsAddNoWaits) {
  auto request = test::small_request(17, 2);
  request.conditions = {{image(), 0, 1.0}};  // a noise level a token: the harder case
  request.image_noise_scale = 0.15;
  request.guidance_scale = 3;
  request.stochastic = true;
  const auto engine = open(80 * kGiB);
  engine->generate(request);
  const auto waits_of = [&](int64_t steps) {
    request.step_count = steps;
    const auto before = test::fake_device_counts().waits;
    engine->generate(request);
    return test::fake_device_counts().waits - before;
  };
  const auto few = waits_of(2), many = waits_of(7);
  // Looking at whether a step's sum is there, once it is, is the one thing that grows with the steps.
  EXPECT_EQ(many - few, 5);
}

TEST_F(EngineDevice, CancelAndErrorsLeaveItUsable) {
  for (const int64_t memory : {80 * kGiB, kTiny}) {
    const auto engine = open(memory);
    auto request = test::small_request(9, 3);
    const auto expected = engine->generate(request).latents;
    const auto token = std::make_shared<CancelToken>();
    RunHooks hooks;
    hooks.on_progress = [&](const Progress& p) { return !(p.stage == Stage::denoise && p.step == 1); };
    expect_error(ErrorCode::cancelled, "cancelled", [&] { engine->generate(request, hooks); });
    EXPECT_TRUE(at::equal(engine->generate(request).latents, expected));
  }
}

TEST_F(EngineDevice, NanInAStepIsNamedThoughTheHostIsAhead) {
  auto request = test::small_request(9, 4);
  const auto bad = at::full({1, 8, 2, 2, 3}, 3e38f);  // two of them are too many for f32
  save_tensors(request.noise_path = folder_ / "noise.safetensors", {{"initial", bad}, {"decode", at::zeros_like(bad)}});
  for (const int64_t memory : {int64_t{0}, 80 * kGiB})
    expect_error(ErrorCode::numeric, "latents became NaN or Inf at step 1 of 4", [&] { open(memory)->generate(request); });
}

TEST_F(EngineDevice, DescriptionNamesTheDevice) {
  const auto j = nlohmann::json::parse(open(80 * kGiB)->describe_json());
  EXPECT_EQ(j["device_name"], "stand-in");
  EXPECT_EQ(j["device_memory_bytes"], 80 * kGiB);
  EXPECT_EQ(j["parts"]["transformer"]["residency"], "resident");
  EXPECT_EQ(nlohmann::json::parse(open(kTiny)->describe_json())["parts"]["transformer"]["residency"], "per_block");
}

TEST_F(EngineDevice, LessMemoryThanTheDeviceHasCanBeAskedFor) {
  EngineOptions options;
  options.device_memory_bytes = kTiny;
  const auto j = nlohmann::json::parse(open(80 * kGiB, options)->describe_json());
  EXPECT_EQ(j["device_memory_bytes"], kTiny);
  EXPECT_EQ(j["parts"]["transformer"]["residency"], "per_block");
  options.device_memory_bytes = 100 * kGiB;  // more than there is is all there is
  EXPECT_EQ(nlohmann::json::parse(open(80 * kGiB, options)->describe_json())["device_memory_bytes"], 80 * kGiB);
}

TEST_F(EngineDevice, ADeviceThatIsNotThereIsOneLine) {
  expect_error(ErrorCode::device, "device cuda:0: ", [] { Engine::open({.model = test::golden_path("tiny_model"), .device = "cuda:0"}); });
  // Never an error where the choice is the library's.
  EXPECT_NO_THROW(Engine::open({.model = test::golden_path("tiny_model"), .device = "auto"}));
  expect_error(ErrorCode::invalid_argument, "device \"cuda:\" is not one of",
               [] { Engine::open({.model = test::golden_path("tiny_model"), .device = "cuda:"}); });
}

}  // namespace
}  // namespace ltxv
