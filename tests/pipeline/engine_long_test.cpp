// Long videos in windows, against diffusers' pipeline on the same model and draws, and the ways in which the two code bases differ.
#include <nlohmann/json.hpp>

#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr double kTolerance = 1e-4;
const std::string kPrompts = std::string(test::kPrompt) + " | Two blue squares turn and fall, then a green star rises.";

class EngineLong : public ::testing::Test {
 protected:
  Request request(int64_t frames, int64_t window, int64_t overlap) {
    auto r = test::small_request(frames, 0);
    r.prompt = kPrompts;
    r.sigmas = {1.0, 0.725, 0.4219};
    r.guidance_scale = 1;
    r.window = {.frame_count = window, .overlap = overlap};
    r.decode_noise_scale = 0.0;
    return r;
  }
  // Draws and options of the golden runs: that pipeline leaves T5's mask out.
  Request golden_request(const test::Golden& golden, const std::string& job, Request r) {
    std::map<std::string, at::Tensor> draws;
    for (const auto& name : golden.below(job + "/noise/")) draws[name] = golden[job + "/noise/" + name];
    save_tensors(r.noise_path = folder_ / "noise.safetensors", draws);
    r.text_padding = TextPadding::attended;
    r.max_text_tokens = 64;
    return r;
  }
  std::shared_ptr<Engine> engine_ = test::open_tiny();
  test::TempFolder folder_;
};

TEST_F(EngineLong, EqualsDiffusersWithAnImageAndGuidance) {
  const test::Golden golden("long_video");
  auto r = golden_request(golden, "image", request(57, 40, 24));
  r.guidance_scale = 3;
  save_tensors(folder_ / "image.safetensors", {{"frames", test::full_frames(golden["image/in_frames"])}});
  r.conditions = {{folder_ / "image.safetensors", 0, 0.5}};
  const auto result = engine_->generate(r);
  EXPECT_MATCHES(result.latents, golden["image/latents"], kTolerance);
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 57, 64, 96}));
}

TEST_F(EngineLong, EqualsDiffusersWithoutAnImage) {
  // An overlap of two latent frames is joined without a fade, which makes the latents longer than asked; the frames are not.
  const test::Golden golden("long_video");
  auto r = golden_request(golden, "text", request(33, 24, 16));
  r.window.match = 0.5, r.window.overlap_strength = 0.8;
  const auto result = engine_->generate(r);
  EXPECT_MATCHES(result.latents, golden["text/latents"], kTolerance);
  EXPECT_EQ(result.frames.size(2), 33);
}

TEST_F(EngineLong, FramesInPiecesAreThoseOfOneDecode) {
  const auto result = engine_->generate(request(121, 40, 24));
  const auto whole = engine_->decode(result.latents, {.noise_scale = 0}).narrow(2, 0, 121);
  EXPECT_EQ(result.frames.sizes(), whole.sizes());
  // The decoder of this model reaches 6 to 7 latent frames far with weights that do not fall off, a trained one's do; a piece has 4.
  EXPECT_LT(test::relative_rms(result.frames, whole), 0.03);
  // The first piece ends with latent 1, that is frame 8; its own first frames have all they need.
  EXPECT_LT((result.frames - whole).narrow(2, 0, 1).abs().max().item<float>(), 0.05);
}

TEST_F(EngineLong, AWindowThatHoldsEverythingIsOneWindow) {
  auto r = request(17, 200, 24);
  r.save_noise_path = folder_ / "noise.safetensors";
  engine_->generate(r);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : test::tensors_of(r.save_noise_path)) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"window_00_initial", "window_00_stochastic_00", "window_00_stochastic_01"}));
}

TEST_F(EngineLong, SavedNoiseReproducesEveryWindow) {
  auto r = request(33, 24, 8);
  r.decode_noise_scale = 0.025;
  r.save_noise_path = folder_ / "noise.safetensors";
  const auto first = engine_->generate(r);
  r.noise_path = r.save_noise_path, r.save_noise_path = "", r.seed = 999;
  const auto second = engine_->generate(r);
  EXPECT_TRUE(at::equal(first.latents, second.latents));
  EXPECT_TRUE(at::equal(first.frames, second.frames));
}

TEST_F(EngineLong, APromptActsFromItsWindowOn) {
  auto r = request(33, 24, 8);  // latents 0 to 2 and 2 to 4
  const auto a = engine_->generate(r).latents;
  r.prompt = std::string(test::kPrompt) + " | a dark beach at sunset";
  const auto b = engine_->generate(r).latents;
  EXPECT_TRUE(at::equal(a.narrow(2, 0, 2), b.narrow(2, 0, 2)));
  EXPECT_FALSE(at::equal(a.narrow(2, 3, 2), b.narrow(2, 3, 2)));
}

TEST_F(EngineLong, EveryPromptIsEncodedOnceWhateverTheWindows) {
  auto r = request(49, 16, 8);  // latents 0 to 1, 1 to 2, ...: six windows
  r.guidance_scale = 3;
  r.max_text_tokens = 8;
  r.prompt = "red circle | blue square";
  r.negative_prompt = "a text that is much longer than eight tokens of the tiny model's vocabulary";
  int encodings = 0, steps = 0;  // the tokenizer says so each time it cuts a text
  engine_->generate(r, {.on_progress = [&](const Progress& p) { return steps += p.stage == Stage::denoise, true; },
                        .on_log = [&](LogLevel, const std::string& m) { encodings += m.find("8 tokens") != m.npos; }});
  EXPECT_EQ(encodings, 1);
  EXPECT_GE(steps, 5 * 2);  // guidance in every step of every window
}

TEST_F(EngineLong, AFileIsWrittenWhileWindowsAreMade) {
  auto r = request(73, 56, 8);  // latents 0 to 6 and 6 to 9; the first two are decoded before the second window is sampled
  r.width = 90;
  const auto path = folder_ / "out.mkv";
  const auto all = engine_->generate(r);
  const auto other = folder_ / "other.mkv";
  write_frames(other, all.frames, 25, all.metadata_json);
  std::vector<Stage> stages;
  const auto result = generate_to_file(*engine_, r, path, {.on_progress = [&](const Progress& p) {
                                         if (stages.empty() || stages.back() != p.stage) stages.push_back(p.stage);
                                         return true;
                                       }});
  EXPECT_FALSE(result.frames.defined());
  const auto written = read_frames(path, nullptr, nullptr);
  EXPECT_EQ(written.sizes(), at::IntArrayRef({1, 3, 73, 64, 90}));
  EXPECT_TRUE(at::equal(written, read_frames(other, nullptr, nullptr)));
  // Frames of the first window are written before the second is sampled.
  EXPECT_EQ(stages, (std::vector<Stage>{Stage::text, Stage::denoise, Stage::write, Stage::denoise, Stage::write})) << stages.size();
  EXPECT_EQ(nlohmann::json::parse(result.metadata_json)["window_frames"], 56);
}

TEST_F(EngineLong, ACancelledFileIsAbsent) {
  auto r = request(33, 24, 8);
  const auto path = folder_ / "out.mkv";
  expect_error(ErrorCode::cancelled, "cancelled", [&] {
    generate_to_file(*engine_, r, path, {.on_progress = [](const Progress& p) { return p.stage != Stage::write; }});
  });
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(EngineLong, WhatCannotBeIsOneClearLine) {
  const auto refused = [&](const std::string& what, const std::function<void(Request&)>& change) {
    auto r = request(33, 24, 8);
    change(r);
    expect_error(ErrorCode::invalid_argument, what, [&] { engine_->generate(r); });
  };
  refused("window-frames 8", [](Request& r) { r.window.frame_count = 8; });
  refused("window-overlap 24 is not between 8 and 16", [](Request& r) { r.window.overlap = 24; });
  refused("window-overlap 7", [](Request& r) { r.window.overlap = 7; });
  refused("window-strength", [](Request& r) { r.window.overlap_strength = 1.5; });
  refused("need window-frames", [](Request& r) { r.window.frame_count = 0; });
  refused("stochastic", [](Request& r) { r.stochastic = true; });
  refused("mask m.png: a mask needs an input video", [](Request& r) { r.mask_path = "m.png"; });
  refused("outpaint needs an input video", [](Request& r) { r.outpaint = true; });
  save_tensors(folder_ / "clip.safetensors", {{"frames", at::zeros({1, 3, 9, 64, 96})}});
  const std::string clip = folder_ / "clip.safetensors";
  refused("window-frames takes clips at frame 0 only, and pictures anywhere; this one of 9 frames is at frame 8", [&](Request& r) { r.conditions = {{clip, 8, 1.0}}; });
  save_tensors(folder_ / "long.safetensors", {{"frames", at::zeros({1, 3, 33, 64, 96})}});
  refused("a clip of 33 frames does not fit into the first window, which has 17", [&](Request& r) { r.conditions = {{folder_ / "long.safetensors", 0, 1.0}}; });
}

TEST(Divergences, OptionsGiveWhatDiffusersDoes) {
  // LTXPipeline: T5 without its mask, plain positions, decode noise in raw latents; the same run as with a model that says so and
  // with embeddings from files, by options alone.
  const test::Golden golden("plain_pipeline");
  test::ModelCopy model;
  model.shift_schedule();
  const auto engine = Engine::open({.model = model.path(), .dtype = "fp32", .thread_count = 2});
  const test::TempFolder folder;
  auto r = test::small_request(17, 4);
  std::map<std::string, at::Tensor> draws;
  for (const auto& name : golden.below("t2v/noise/")) draws[name] = golden["t2v/noise/" + name];
  save_tensors(r.noise_path = folder / "noise.safetensors", draws);
  r.guidance_scale = 3;
  r.guidance_rescale = 0.0;
  r.max_text_tokens = 128;
  r.decode_timestep = 0.05, r.decode_noise_scale = 0.025;
  r.negative_prompt = "worst quality, inconsistent motion, blurry, jittery, distorted";
  r.text_padding = TextPadding::attended;
  r.frame_positions = FramePositions::plain;
  r.decode_noise_space = NoiseSpace::raw;
  const auto result = engine->generate(r);
  EXPECT_MATCHES(result.latents, golden["t2v/latents"], kTolerance);
  EXPECT_MATCHES(result.frames.slice(3, 0, 64, 5).slice(4, 0, 96, 7), golden["t2v/pixels"], kTolerance);
  // And each of them matters.
  for (const auto& change : std::vector<std::function<void(Request&)>>{
           [](Request& o) { o.text_padding = TextPadding::masked; }, [](Request& o) { o.frame_positions = FramePositions::causal; },
           [](Request& o) { o.decode_noise_space = NoiseSpace::normalised; }}) {
    auto other = r;
    change(other);
    EXPECT_GT(test::error_over_deviation(engine->generate(other).frames, result.frames), 1e-3);
  }
}

}  // namespace
}  // namespace ltxv
