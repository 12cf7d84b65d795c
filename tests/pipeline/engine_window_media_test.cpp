// Windows together with input videos, masks, control clips, embeddings and two passes: a window that holds everything is a plain run,
// and what several windows keep is the clip's own.
#include "pipeline/engine_fixture.h"
#include "support/made_upsampler.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr double kTolerance = 1e-4;
const UpsamplerConfig kSpatial{.channels = 8, .width = 32, .blocks_a_stage = 2};
const UpsamplerConfig kTemporal{.channels = 8, .width = 64, .blocks_a_stage = 1, .spatial = false, .temporal = true};

class EngineWindowMedia : public ::testing::Test {
 protected:
  std::string save(const std::string& name, const std::map<std::string, at::Tensor>& tensors) {
    const auto path = folder_ / (name + ".safetensors");
    save_tensors(path, tensors);
    return path;
  }
  std::string clip(const std::string& name, int64_t frames, int64_t height = 64, int64_t width = 96) {
    return save(name, {{"frames", test::made(name, {1, 3, frames, height, width}, 1.0f).contiguous()}});
  }
  // White from column `from` on.
  std::string mask(int64_t from, int64_t height = 64, int64_t width = 96) {
    auto m = at::zeros({1, 1, 1, height, width});
    m.narrow(4, from, width - from).fill_(1);
    return save("mask", {{"mask", m}});
  }
  static Request request(int64_t frames) {
    auto r = test::small_request(frames, 0);
    r.sigmas = {1.0, 0.725, 0.4219};
    r.guidance_scale = 1;
    r.decode_noise_scale = 0.0;
    return r;
  }
  static Request in_windows(Request r, int64_t window, int64_t overlap, double eta = 1) {
    r.window = {.frame_count = window, .overlap = overlap, .eta = eta};
    return r;
  }
  std::shared_ptr<Engine> open(const std::vector<std::string>& upscalers) {
    return Engine::open({.model = test::golden_path("tiny_model"), .upscalers = upscalers, .device = "cpu", .dtype = "fp32", .thread_count = 2});
  }

  // At eta 0 a window's steps are plain ones, and what is kept wholly is kept alike: one window must give the plain run's latents.
  // Tokens that are appended stand in another order, which changes the order of sums only.
  void expect_plain(const Request& asked, const std::vector<std::string>& upscalers = {}) {
    const auto engine = open(upscalers);
    auto windows = in_windows(asked, 400, 8, 0);
    windows.save_noise_path = folder_ / "window_draws.safetensors";
    const auto result = engine->generate(windows);
    auto plain = asked;
    std::map<std::string, at::Tensor> draws;
    for (const auto& [name, draw] : test::tensors_of(windows.save_noise_path)) {
      const std::string prefix = name.starts_with("pass2_") ? "pass2_" : "";
      const auto& pass = prefix.empty() ? result.resolved : result.resolved.last_pass();
      draws[prefix + "initial"] = draw.narrow(2, 0, pass.latent.frames).contiguous();
      draws[prefix + "condition_00"] = at::zeros({1, 8, 1, pass.latent.height, pass.latent.width});  // mixed in at strength 1: not at all
    }
    plain.noise_path = save("plain_draws", draws);
    EXPECT_MATCHES(result.latents, engine->generate(plain).latents, kTolerance);
  }

  void expect_draws_checked_first(const Request& asked, const std::vector<std::string>& upscalers = {});

  std::shared_ptr<Engine> engine_ = test::open_tiny();
  test::TempFolder folder_;
};

TEST_F(EngineWindowMedia, OneWindowIsAPlainRun) {
  auto r = request(17);
  expect_plain(r);
  r.input_video_path = clip("video", 17);
  r.strength = 0.67;  // the last two of three steps
  expect_plain(r);
  r.image_noise_scale = 0;
  r.mask_path = mask(64);
  expect_plain(r);
  r.strength.reset();
  r.mask_path.clear(), r.outpaint = true;
  r.input_video_path = clip("narrow", 9, 64, 32);
  expect_plain(r);
  r = request(17);
  r.image_noise_scale = 0;
  r.control_path = clip("control", 17);
  expect_plain(r);
  r.control_path = clip("still", 1);
  expect_plain(r);
  r.control_path.clear();
  r.conditions = {{clip("keyframe", 1), 13, 1.0}};
  expect_plain(r);
}

TEST_F(EngineWindowMedia, OneWindowOfTwoPassesIsAPlainRun) {
  auto r = request(17);
  r.width = 160, r.height = 128;
  r.second_pass.sigmas = {0.9094, 0.4219};
  r.image_noise_scale = 0;
  const auto spatial = test::write_upsampler_file(folder_, "spatial.safetensors", kSpatial);
  expect_plain(r, {spatial});
  r.input_video_path = clip("video", 17, 128, 160);
  r.mask_path = mask(96, 128, 160);
  expect_plain(r, {spatial});
  auto t = request(25);
  t.second_pass.sigmas = {0.9094, 0.4219};
  t.image_noise_scale = 0;
  t.control_path = clip("control", 25);
  expect_plain(t, {test::write_upsampler_file(folder_, "temporal.safetensors", kTemporal)});
}

TEST_F(EngineWindowMedia, WhatIsKeptInEveryWindowIsTheClipsOwn) {
  auto r = request(41);
  r.input_video_path = clip("video", 41);
  r.mask_path = mask(64);  // latent column 2
  const auto encoded = engine_->encode(read_frames(r.input_video_path, nullptr, nullptr));
  for (const auto& [window, overlap] : {std::pair<int64_t, int64_t>{24, 8}, {24, 16}, {32, 24}}) {
    const auto result = engine_->generate(in_windows(r, window, overlap));
    ASSERT_EQ(result.latents.sizes(), encoded.sizes()) << window << " " << overlap;  // an overlap of 16 does not shift it either
    EXPECT_MATCHES(result.latents.narrow(4, 0, 2), encoded.narrow(4, 0, 2), 1e-5);
    EXPECT_GT(test::error_over_deviation(result.latents.narrow(4, 2, 1), encoded.narrow(4, 2, 1)), 0.5);
  }
}

TEST_F(EngineWindowMedia, KeptPixelsAreCopiedFrameByFrame) {
  auto r = in_windows(request(40), 24, 8);  // 41 are computed
  r.input_video_path = clip("video", 40);
  r.mask_path = mask(64);
  r.composite = true;
  const auto frames = engine_->generate(r).frames, own = read_frames(r.input_video_path, nullptr, nullptr);
  EXPECT_TRUE(at::equal(frames.narrow(4, 0, 64), own.narrow(4, 0, 64)));
  EXPECT_FALSE(at::equal(frames.narrow(4, 64, 32), own.narrow(4, 64, 32)));
  // Fitted inside: 30 frames of the middle third, and nothing of what comes behind them.
  r.mask_path.clear(), r.outpaint = true;
  r.input_video_path = clip("narrow", 30, 64, 32);
  const auto outpainted = engine_->generate(r).frames, inside = read_frames(r.input_video_path, nullptr, nullptr);
  EXPECT_TRUE(at::equal(outpainted.narrow(2, 0, 30).narrow(4, 32, 32), inside));
  EXPECT_FALSE(at::equal(outpainted.narrow(2, 30, 1).narrow(4, 32, 32), inside.narrow(2, 29, 1)));
}

TEST_F(EngineWindowMedia, EveryWindowFollowsItsPartOfAClip) {
  // Windows of latents 0 to 2 and 2 to 4. What changes behind frame 24 is seen by the second only.
  for (const bool control : {true, false}) {
    auto r = in_windows(request(33), 24, 8);
    if (!control) r.strength = 0.67;
    auto& path = control ? r.control_path : r.input_video_path;
    path = clip("video", 33);
    const auto before = engine_->generate(r).latents;
    auto frames = read_frames(path, nullptr, nullptr).clone();
    frames.narrow(2, 25, 8).neg_();
    path = save("changed", {{"frames", frames}});
    const auto after = engine_->generate(r).latents;
    EXPECT_TRUE(at::equal(before.narrow(2, 0, 2), after.narrow(2, 0, 2)));
    EXPECT_GT(test::error_over_deviation(after.narrow(2, 3, 2), before.narrow(2, 3, 2)), 1e-3);
  }
}

TEST_F(EngineWindowMedia, ALongClipIsEncodedInPieces) {
  // 12 windows.
  auto r = in_windows(request(97), 16, 8);
  r.input_video_path = clip("video", 97);
  r.mask_path = mask(64);
  const auto encoded = engine_->encode(read_frames(r.input_video_path, nullptr, nullptr));
  const auto latents = engine_->generate(r).latents;
  ASSERT_EQ(latents.sizes(), encoded.sizes());
  EXPECT_MATCHES(latents.narrow(4, 0, 2), encoded.narrow(4, 0, 2), 1e-5);
  // A file of latents is taken as it is.
  r.input_video_path = save("latents", {{"latents", encoded}});
  EXPECT_TRUE(at::equal(engine_->generate(r).latents.narrow(4, 0, 2), encoded.narrow(4, 0, 2)));
}

TEST_F(EngineWindowMedia, AKeyframeIsSeenByTheWindowsThatHoldIt) {
  // Latents 0 to 2, 2 to 4 and 4 to 5: frames 1 to 16, 17 to 32, 33 to 40.
  auto r = in_windows(request(41), 24, 8);
  const auto without = engine_->generate(r).latents;
  for (const auto& [frame, first_changed] : {std::pair<int64_t, int64_t>{16, 0}, {17, 2}, {33, 4}}) {
    r.conditions = {{clip("keyframe", 1), frame, 1.0}};
    const auto with = engine_->generate(r).latents;
    // A window changes the one before where both are faded; an overlap of one latent frame is not.
    EXPECT_TRUE(at::equal(with.narrow(2, 0, first_changed), without.narrow(2, 0, first_changed))) << frame;
    EXPECT_FALSE(at::equal(with.narrow(2, first_changed, 2), without.narrow(2, first_changed, 2))) << frame;
  }
}

TEST_F(EngineWindowMedia, EmbeddingsStandForPrompts) {
  auto r = in_windows(request(33), 24, 8);
  r.prompt = "a red circle | a blue square";
  const auto by_prompt = engine_->generate(r).latents;
  r.prompt.clear();
  for (const char* prompt : {"a red circle", "a blue square"}) {
    const auto embeds = engine_->embed(prompt, 0);
    const auto path = save(prompt, {{"prompt_embeds", embeds.embeds}, {"prompt_attention_mask", embeds.mask}});
    r.prompt_embeds_path += (r.prompt_embeds_path.empty() ? "" : " | ") + path;
  }
  EXPECT_MATCHES(engine_->generate(r).latents, by_prompt, 1e-5);
  r.prompt_embeds_path += "|no-such.safetensors";
  r.frame_count = 57;  // four windows: the third one's file is read
  bool began = false;
  expect_error(ErrorCode::io, "no-such.safetensors", [&] {
    engine_->generate(r, {.on_progress = [&](const Progress& p) { return began = began || p.stage == Stage::denoise, true; }});
  });
  EXPECT_FALSE(began);
}

TEST_F(EngineWindowMedia, TheSecondPassGoesOnFromTheFirstOnesWindows) {
  auto r = in_windows(request(41), 24, 8);
  r.width = 192, r.height = 128;
  r.second_pass.sigmas = {0.9094, 0.4219};
  r.second_pass.downscale = 0.5;
  r.save_noise_path = folder_ / "draws.safetensors";
  const auto engine = open({test::write_upsampler_file(folder_, "spatial.safetensors", kSpatial)});
  const auto both = engine->generate(r);
  std::map<std::string, at::Tensor> first_draws, second_draws;
  for (const auto& [name, draw] : test::tensors_of(r.save_noise_path))
    (name.starts_with("pass2_") ? second_draws[name.substr(6)] : first_draws[name]) = draw;
  auto one = r;
  one.second_pass = {}, one.save_noise_path.clear();
  one.width = 96, one.height = 64;
  one.noise_path = save("first", first_draws);
  auto small = engine_->generate(one).latents;
  ASSERT_EQ(small.size(2), 6);
  one.width = 192, one.height = 128;
  one.sigmas = {0.9094, 0.4219};
  one.noise_path = save("second", second_draws);
  one.input_video_path = save("enlarged", {{"latents", engine->upscale(small, 1.0)}});
  EXPECT_MATCHES(both.latents, engine_->generate(one).latents, kTolerance);
  EXPECT_EQ(both.frames.sizes(), at::IntArrayRef({1, 3, 41, 128, 192}));
}

TEST_F(EngineWindowMedia, AClipGoesOnInWindows) {
  auto r = in_windows(request(49), 24, 8);
  r.conditions = {{clip("prefix", 17), 0, 1.0}};
  const auto latents = engine_->generate(r).latents;
  EXPECT_MATCHES(latents.narrow(2, 0, 2), engine_->encode(read_frames(r.conditions[0].path, nullptr, nullptr)).narrow(2, 0, 2), 1e-5);
}

TEST_F(EngineWindowMedia, WhatCannotBeIsSaidBeforeAnyWork) {
  const auto refused = [&](const std::string& what, const std::function<void(Request&)>& change, const std::vector<std::string>& upscalers = {}) {
    auto r = in_windows(request(33), 24, 8);
    change(r);
    const auto engine = open(upscalers);
    expect_error(ErrorCode::invalid_argument, what, [&] {
      engine->generate(r, {.on_progress = [](const Progress&) -> bool { throw std::logic_error("work began"); }});
    });
  };
  refused("25 usable frames, this run needs 33", [&](Request& r) { r.input_video_path = clip("video", 25); });
  refused("25 usable frames, this run needs 33, or one picture", [&](Request& r) { r.control_path = clip("video", 25); });
  refused("the mask has 9 frames, this run needs 1 or 33", [&](Request& r) {
    r.input_video_path = clip("video", 33);
    r.mask_path = save("mask", {{"mask", at::ones({1, 1, 9, 64, 96})}});
  });
  refused("black everywhere", [&](Request& r) {
    r.input_video_path = clip("video", 33);
    r.mask_path = save("mask", {{"mask", at::zeros({1, 1, 1, 64, 96})}});
  });
  refused("nothing is left to outpaint", [&](Request& r) { r.input_video_path = clip("video", 33), r.outpaint = true; });
  refused("latents are [1, 8, 5, 2, 2], this run needs [1, 8, 5, 2, 3]",
          [&](Request& r) { r.input_video_path = save("latents", {{"latents", at::zeros({1, 8, 5, 2, 2})}}); });
  refused("holds latents of one size; a mask in two passes needs an input video with pixels",
          [&](Request& r) {
            r.input_video_path = save("latents", {{"latents", at::zeros({1, 8, 5, 1, 2})}});
            r.mask_path = mask(64);
          },
          {test::write_upsampler_file(folder_, "spatial.safetensors", kSpatial)});
}

// Every draw of a run is looked for before anything is computed: with any one of them missing or of another shape, no stage begins.
void EngineWindowMedia::expect_draws_checked_first(const Request& asked, const std::vector<std::string>& upscalers) {
  const auto engine = open(upscalers);
  auto r = asked;
  r.save_noise_path = folder_ / "draws.safetensors";
  const auto made = engine->generate(r);
  auto draws = test::tensors_of(r.save_noise_path);
  r.save_noise_path.clear();
  r.noise_path = save("draws", draws);
  EXPECT_TRUE(at::equal(engine->generate(r).latents, made.latents));
  const RunHooks no_work{.on_progress = [](const Progress&) -> bool { throw std::logic_error("work began"); }};
  for (const auto& [name, draw] : draws) {
    auto others = draws;
    others.erase(name);
    save("draws", others);
    expect_error(ErrorCode::invalid_argument, "noise \"" + name + "\" is missing", [&] { engine->generate(r, no_work); });
    others[name] = draw.flatten();
    save("draws", others);
    expect_error(ErrorCode::invalid_argument, "noise \"" + name + "\" is", [&] { engine->generate(r, no_work); });
  }
}

TEST_F(EngineWindowMedia, DrawsFromAFileAreLookedAtFirst) {
  auto r = request(25);
  r.decode_noise_scale = 0.025;
  r.stochastic = true;
  r.image_noise_scale = 0.15;
  r.conditions = {{clip("first", 1), 0, 1.0}, {clip("later", 9), 8, 0.9}, {clip("still", 1), 20, 0.7}};
  r.control_path = clip("control", 25);
  r.control_strength = 0.8;
  expect_draws_checked_first(r);
  r.second_pass.sigmas = {0.9094, 0.4219};
  expect_draws_checked_first(r, {test::write_upsampler_file(folder_, "temporal.safetensors", kTemporal)});
}

TEST_F(EngineWindowMedia, DrawsOfWindowsAreLookedAtFirst) {
  auto r = in_windows(request(73), 24, 8);
  r.decode_noise_scale = 0.025;
  expect_draws_checked_first(r);
  r = in_windows(request(49), 32, 16);
  r.decode_noise_scale = 0.025;
  r.conditions = {{clip("first", 1), 0, 1.0}, {clip("keyframe", 1), 27, 0.8}};
  r.control_path = clip("control", 49);
  r.second_pass.sigmas = {0.9094, 0.4219};
  expect_draws_checked_first(r, {test::write_upsampler_file(folder_, "temporal.safetensors", kTemporal)});
}

}  // namespace
}  // namespace ltxv
