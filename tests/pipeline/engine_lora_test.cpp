// LoRAs and control clips through the engine: against diffusers with changed weights and the trainer's loop, taken away again, and
// refused before any work.
#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr double kTolerance = 1e-4;

class EngineLora : public ::testing::Test {
 protected:
  void SetUp() override {
    request_ = test::small_request(9, 3);
    request_.guidance_scale = 3;
    request_.decode_noise_scale = 0.0;
    save_tensors(request_.noise_path = folder_ / "noise.safetensors", {{"initial", golden_["noise/initial"]}});
  }

  enum class Style { diffusers, comfy, kohya, bare };

  /// A file with the matrices of golden LoRA `which`, under the names that a tool gives them.
  std::string lora_file(const std::string& which, Style style, const std::map<std::string, std::string>& metadata = {}) {
    const auto names = load_model_spec({.model = test::golden_path("tiny_model")}).transformer_files.names;
    const auto named = [&](std::string module, const char* ending, const char* kohya_ending) -> std::string {
      if (style == Style::comfy) module = "diffusion_model." + names.apply(module);
      if (style == Style::diffusers) module = "transformer." + module;
      if (style != Style::kohya) return module + ending;
      std::replace(module.begin(), module.end(), '.', '_');
      return "lora_unet_" + module + kohya_ending;
    };
    std::map<std::string, at::Tensor> tensors;
    for (const auto& module : golden_.below(which + "/down/")) {
      tensors[named(module, ".lora_A.weight", ".lora_down.weight")] = golden_[which + "/down/" + module];
      tensors[named(module, ".lora_B.weight", ".lora_up.weight")] = golden_[which + "/up/" + module];
      if (which == "second") tensors[named(module, ".alpha", ".alpha")] = golden_["in_alpha"];
    }
    for (const auto& name : golden_.below(which + "/difference/")) {
      const bool bias = name.ends_with(".bias"), weight = name.ends_with(".weight");
      tensors[named(name.substr(0, name.size() - (bias ? 5 : weight ? 7 : 0)), bias ? ".diff_b" : ".diff", bias ? ".diff_b" : ".diff")] =
          golden_[which + "/difference/" + name];
    }
    const auto path = folder_ / (which + std::to_string(static_cast<int>(style)) + std::to_string(metadata.size()) + ".safetensors");
    save_tensors(path, tensors, metadata);
    return path;
  }
  at::Tensor latents(const std::vector<LoraItem>& loras) {
    request_.loras = loras;
    return engine_->generate(request_).latents;
  }
  std::string broken(const std::map<std::string, at::Tensor>& tensors) {
    const auto path = folder_ / "broken.safetensors";
    save_tensors(path, tensors);
    return path;
  }
  /// Refused before the first stage, and the engine still makes what it made before.
  void expect_refused(ErrorCode code, const std::string& words) {
    int stages = 0;
    expect_error(code, words, [&] { engine_->generate(request_, {.on_progress = [&](const Progress&) { return ++stages, true; }}); });
    EXPECT_EQ(stages, 0) << words;
  }

  test::Golden golden_{"lora"};
  test::TempFolder folder_;
  std::shared_ptr<Engine> engine_ = test::open_tiny();
  Request request_;
};

TEST_F(EngineLora, EveryToolsNamesGiveWhatChangedWeightsGive) {
  for (const Style style : {Style::diffusers, Style::comfy, Style::kohya, Style::bare}) {
    EXPECT_MATCHES(latents({{lora_file("first", style), 0.8}}), golden_["first_0.8/latents"], kTolerance) << static_cast<int>(style);
    EXPECT_MATCHES(latents({{lora_file("second", style)}}), golden_["second_1/latents"], kTolerance) << static_cast<int>(style);
  }
}

TEST_F(EngineLora, SeveralFilesAddUp) {
  const auto first = lora_file("first", Style::diffusers), second = lora_file("second", Style::kohya);
  const auto both = latents({{first, -0.4}, {second, 0.7}});
  EXPECT_MATCHES(both, golden_["both/latents"], kTolerance);
  EXPECT_GT(test::error_over_deviation(both, golden_["plain/latents"]), 0.05);
}

TEST_F(EngineLora, TakenAwayTheModelIsWhatItWas) {
  const auto before = latents({});
  EXPECT_MATCHES(before, golden_["plain/latents"], kTolerance);
  const auto first = lora_file("first", Style::comfy), second = lora_file("second", Style::comfy);
  const auto with_first = latents({{first, 0.8}});
  EXPECT_TRUE(at::equal(latents({{first, 0.8}}), with_first));
  latents({{first, 0.8}, {second, 1}});
  EXPECT_TRUE(at::equal(latents({}), before));
  EXPECT_TRUE(at::equal(latents({{first, 0}}), before));
  EXPECT_TRUE(at::equal(latents({{first, 0.8}}), with_first)) << "nothing of the other file is left";
  EXPECT_FALSE(at::equal(latents({{first, 0.7}}), with_first));
}

TEST_F(EngineLora, AFileThatWasReplacedIsReadAgain) {
  const auto path = lora_file("first", Style::bare);
  const auto before = latents({{path, 1}});
  std::filesystem::rename(lora_file("second", Style::bare), path);
  EXPECT_MATCHES(latents({{path, 1}}), golden_["second_1/latents"], kTolerance);
  EXPECT_GT(test::error_over_deviation(before, golden_["second_1/latents"]), 0.01);
}

TEST_F(EngineLora, ReducedPrecisionRoundsTheSumOnce) {
  // bf16 carries 8 bits: a transformer of 3 blocks differs from f32 by about a percent, the LoRA itself by far more.
  engine_ = test::open_tiny("bf16");
  EXPECT_LE(test::relative_rms(latents({{lora_file("first", Style::diffusers), 0.8}}), golden_["first_0.8/latents"]), 0.03);
  EXPECT_GT(test::relative_rms(latents({}), golden_["first_0.8/latents"]), 0.05);
}

TEST_F(EngineLora, DamagedFilesAreRefusedBeforeAnyWork) {
  const auto before = latents({});
  const std::string module = "transformer.transformer_blocks.0.attn1.to_q";
  const auto down = at::zeros({2, 20}), up = at::zeros({20, 2});
  request_.loras = {{broken({{module + ".lora_A.weight", down}, {module + ".lora_B.weight", up}, {"transformer.blocks.9.x.lora_A.weight", down},
                             {"transformer.blocks.9.x.lora_B.weight", up}})}};
  expect_refused(ErrorCode::bad_weights, "broken.safetensors: 1 of 2 LoRA keys match nothing in this model: 'transformer.blocks.9.x'");
  request_.loras = {{broken({{module + ".lora_A.weight", at::zeros({2, 2048})}, {module + ".lora_B.weight", at::zeros({2048, 2})}})}};
  expect_refused(ErrorCode::bad_weights, "[2,2048] does not fit the model's 'transformer_blocks.0.attn1.to_q.weight' [20,20]");
  request_.loras = {{broken({{module + ".lora_A.weight", at::zeros({3, 20})}, {module + ".lora_B.weight", up}})}};
  expect_refused(ErrorCode::bad_weights, "differ in rank");
  request_.loras = {{folder_ / "absent.safetensors"}};
  expect_refused(ErrorCode::io, "absent.safetensors");
  const auto cut = lora_file("first", Style::bare);
  std::filesystem::resize_file(cut, std::filesystem::file_size(cut) - 5);
  request_.loras = {{cut}};
  expect_refused(ErrorCode::bad_weights, cut);
  request_.loras = {{cut, 1000}};
  expect_refused(ErrorCode::invalid_argument, "LoRA strength 1000 is not between -100 and 100");
  EXPECT_TRUE(at::equal(latents({}), before));
}

class EngineControl : public EngineLora {
 protected:
  void SetUp() override {
    request_ = test::small_request(9, 0);
    request_.guidance_scale = 3;
    request_.decode_noise_scale = 0.0;
    request_.sigmas = golden_.numbers("control/in_sigmas");
    save_tensors(request_.noise_path = folder_ / "noise.safetensors", {{"initial", golden_["control/in_initial"]}});
    control(frames_);
  }
  void control(const at::Tensor& frames) {
    save_tensors(request_.control_path = folder_ / "control.safetensors", {{"frames", frames.contiguous()}});
  }
  at::Tensor run() { return engine_->generate(request_).latents; }

  const at::Tensor frames_ = test::full_frames(golden_["control/in_frames"]);
};

TEST_F(EngineControl, AReferenceClipEqualsTheTrainersLoop) {
  EXPECT_MATCHES(run(), golden_["control/latents"], kTolerance);
  request_.control_path = "";
  EXPECT_GT(test::error_over_deviation(run(), golden_["control/latents"]), 0.1);
}

TEST_F(EngineControl, LongerClipsAreCutAndOtherSizesFitted) {
  control(at::cat({frames_, frames_.flip({2})}, 2));
  EXPECT_MATCHES(run(), golden_["control/latents"], kTolerance);
  // Every pixel twice in both directions: antialiased, the reduction gives back about the same picture (each block of 8 x 8 is flat).
  control(frames_.repeat_interleave(2, 3).repeat_interleave(2, 4));
  EXPECT_MATCHES(run(), golden_["control/latents"], 0.3);
}

TEST_F(EngineControl, ClipsThatAreTooShortAreRefused) {
  const auto expected = run();
  request_.frame_count = 17;
  request_.noise_path = "";
  expect_refused(ErrorCode::invalid_argument, "control.safetensors: 9 usable frames, this run needs 17, or one picture");
  control(frames_.narrow(2, 0, 1));  // a still is a reference of its own
  EXPECT_NO_THROW(run());
  request_.control_path = folder_ / "absent.mp4";
  expect_refused(ErrorCode::io, "absent.mp4");
  for (const double wrong : {0.0, 1.5}) {
    control(frames_);
    request_.control_strength = wrong;
    expect_refused(ErrorCode::invalid_argument, "control strength");
  }
  SetUp();
  EXPECT_TRUE(at::equal(run(), expected));
}

TEST_F(EngineControl, WeakerControlIsDrawnByName) {
  request_.noise_path = "";
  request_.seed = 5;
  const auto full = run();
  request_.control_strength = 0.5;
  request_.save_noise_path = folder_ / "draws.safetensors";
  EXPECT_GT(test::error_over_deviation(run(), full), 0.01);
  EXPECT_EQ(test::tensors_of(request_.save_noise_path).at("control").sizes(), at::IntArrayRef({1, 8, 2, 2, 3}));
}

TEST_F(EngineControl, ALoraMayWantASmallerClip) {
  request_.noise_path = "";
  request_.width = 128;
  request_.loras = {{lora_file("first", Style::bare, {{"reference_downscale_factor", "2"}}), 0}};
  control(at::zeros({1, 3, 9, 32, 64}));
  EXPECT_NO_THROW(run());
  request_.width = 96;
  expect_refused(ErrorCode::invalid_argument, "width and height must be multiples of 64, not 96x64");
}

TEST_F(EngineControl, WithoutItsLoraAWarningIsGiven) {
  std::vector<std::string> warnings;
  const RunHooks hooks{.on_log = [&](LogLevel level, const std::string& m) {
    if (level == LogLevel::warning) warnings.push_back(m);
  }};
  engine_->generate(request_, hooks);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("without its in-context LoRA"), std::string::npos);
  request_.loras = {{lora_file("first", Style::bare), 0.5}};
  engine_->generate(request_, hooks);
  EXPECT_EQ(warnings.size(), 1u);
}

}  // namespace
}  // namespace ltxv
