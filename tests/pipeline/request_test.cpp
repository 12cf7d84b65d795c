// Requests: how the preset fills them, every range, and shapes off the grid.
#include "pipeline/request.h"

#include <nlohmann/json.hpp>

#include "diffusion/schedule.h"
#include "support/expect_error.h"

namespace ltxv {
namespace {

using test::expect_error;

const ModelSpec& spec() {
  static const ModelSpec loaded = load_model_spec({.model = std::string(LTXV_SOURCE_DIR) + "/tests/golden/tiny_model"});
  return loaded;
}

ModelSpec shifted_spec() {
  auto s = spec();
  s.schedule.kind = ScheduleSpec::Kind::shifted;
  s.schedule.terminal = 0.1;
  return s;
}

TEST(Request, AnEmptyOneIsThePreset) {
  const auto resolved = resolve({.prompt = "x"}, spec());
  const Preset& p = spec().preset("");
  EXPECT_EQ(resolved.asked, (PixelShape{p.frame_count, p.height, p.width}));
  EXPECT_EQ(resolved.padded, resolved.asked);
  EXPECT_EQ(resolved.sigmas, linear_quadratic_sigmas(p.step_count));
  EXPECT_EQ(resolved.request.step_count, p.step_count);
  EXPECT_EQ(*resolved.request.guidance_scale, p.guidance_scale);
  EXPECT_EQ(*resolved.request.guidance_rescale, p.guidance_rescale);
  EXPECT_EQ(*resolved.request.seed, p.seed);
  EXPECT_EQ(*resolved.request.negative_prompt, p.negative_prompt);
  EXPECT_EQ(resolved.request.max_text_tokens, p.max_text_tokens);
  EXPECT_EQ(*resolved.request.decode_timestep, p.decode_timestep);
  EXPECT_EQ(*resolved.request.decode_noise_scale, p.decode_noise_scale);
  EXPECT_EQ(resolved.request.preset, "default");
}

TEST(Request, WhatIsGivenWins) {
  const auto r = resolve({.prompt = "x",
                          .negative_prompt = "",
                          .width = 96,
                          .height = 64,
                          .frame_count = 17,
                          .frames_per_second = 12.5,
                          .step_count = 5,
                          .guidance_scale = 1.0,
                          .guidance_rescale = 0.7,
                          .seed = 0,
                          .max_text_tokens = 64,
                          .image_noise_scale = 0.15,
                          .decode_timestep = 0.0,
                          .decode_noise_scale = 0.0},
                         spec());
  EXPECT_EQ(r.latent, (LatentShape{3, 2, 3}));
  EXPECT_EQ(r.request.frames_per_second, 12.5);
  EXPECT_EQ(r.sigmas, linear_quadratic_sigmas(5));
  EXPECT_EQ(*r.request.negative_prompt, "");  // an empty negative prompt is a prompt
  EXPECT_EQ(*r.request.seed, 0u);             // and 0 a seed
  EXPECT_EQ(*r.request.decode_timestep, 0.0);
  EXPECT_EQ(*r.request.image_noise_scale, 0.15);
}

TEST(Request, AnotherPresetAndExplicitSigmas) {
  const auto r = resolve({.preset = "distilled"}, spec());
  EXPECT_EQ(r.sigmas, spec().preset("distilled").sigmas);
  EXPECT_EQ(r.request.step_count, 8);
  EXPECT_EQ(*r.request.guidance_scale, 1.0);
  EXPECT_EQ(resolve({.step_count = 4, .preset = "distilled"}, spec()).sigmas, linear_quadratic_sigmas(4));
  EXPECT_EQ(resolve({.sigmas = {1.0, 0.25}}, spec()).sigmas, (std::vector<double>{1.0, 0.25}));
}

TEST(Request, SecondsBecomeTheNearestCountOnTheGrid) {
  const auto frames = [](double seconds, double fps) {
    return resolve({.seconds = seconds, .frames_per_second = fps}, spec()).asked.frames;
  };
  EXPECT_EQ(frames(5, 24), 121);  // 120 frames: 8 * 15 + 1 is nearest
  EXPECT_EQ(frames(0.001, 24), 1);
  EXPECT_EQ(frames(1, 25), 25);    // 25 = 8 * 3 + 1
  EXPECT_EQ(frames(1.1, 25), 25);  // 27.5 frames
  EXPECT_EQ(frames(1.2, 25), 33);  // 30 frames lie nearer to 33
}

TEST(Request, ShapesOffTheGridArePaddedAndCropped) {
  const auto r = resolve({.width = 100, .height = 33, .frame_count = 10}, spec());
  EXPECT_EQ(r.asked, (PixelShape{10, 33, 100}));
  EXPECT_EQ(r.padded, (PixelShape{17, 64, 128}));
  EXPECT_EQ(r.latent, (LatentShape{3, 2, 4}));
}

TEST(Request, TheShiftedScheduleCountsTheVideosOwnTokens) {
  const auto r = resolve({.width = 96, .height = 64, .frame_count = 17, .step_count = 4}, shifted_spec());
  EXPECT_EQ(r.sigmas, shifted_sigmas(4, 18, {0.95, 2.05, 1024, 4096}, 0.1));
  expect_error(ErrorCode::invalid_argument, "at least 2 steps", [] { resolve({.step_count = 1}, shifted_spec()); });
}

struct Refusal {
  Request request;
  const char* words;
};

TEST(Request, EveryRangeIsCheckedByName) {
  const double nan = std::nan(""), infinite = HUGE_VAL;
  const std::vector<Refusal> refusals = {
      {{.width = -1}, "width -1 is not between 1 and 8192"},
      {{.width = 8193}, "width 8193"},
      {{.height = -32}, "height -32"},
      {{.height = INT64_MAX}, "height 9223372036854775807"},
      {{.frame_count = -9}, "frames -9"},
      {{.frame_count = INT64_MAX}, "frames 9223372036854775807"},
      {{.frame_count = 9, .seconds = 1}, "seconds and frames exclude each other"},
      {{.seconds = -1}, "seconds -1"},
      {{.seconds = nan}, "seconds nan"},
      {{.seconds = 1e18}, "seconds 1e+18"},
      {{.frames_per_second = -24}, "fps -24"},
      {{.frames_per_second = infinite}, "fps inf"},
      {{.step_count = -1}, "steps -1"},
      {{.step_count = 1001}, "steps 1001"},
      {{.step_count = 4, .sigmas = {1.0}}, "steps and sigmas exclude each other"},
      {{.sigmas = {0.5, 0.6}}, "sigmas must fall"},
      {{.sigmas = {1.2}}, "sigma 1.2"},
      {{.guidance_scale = -1}, "guidance -1"},
      {{.guidance_scale = nan}, "guidance nan"},
      {{.guidance_rescale = 1.1}, "guidance rescale 1.1"},
      {{.max_text_tokens = -1}, "max text tokens -1"},
      {{.max_text_tokens = 4097}, "max text tokens 4097"},
      {{.image_noise_scale = -0.1}, "image noise scale -0.1"},
      {{.decode_timestep = 1.5}, "decode timestep 1.5"},
      {{.decode_timestep = nan}, "decode timestep nan"},
      {{.decode_noise_scale = -0.5}, "decode noise scale -0.5"},
      {{.preset = "turbo"}, "preset \"turbo\""},
      {{.frame_count = 17, .conditions = {{"a.png", 17, 1}}}, "a.png: frame 17 is not between 0 and 16"},
      {{.frame_count = 17, .conditions = {{"a.png", -1, 1}}}, "a.png: frame -1"},
      {{.conditions = {{"a.png", 0, 1.5}}}, "strength 1.5"},
      {{.conditions = {{"a.png", 0, -0.5}}}, "strength -0.5"},
      {{.conditions = {{"", 0, 1}}}, "no path"},
  };
  for (const auto& [request, words] : refusals)
    expect_error(ErrorCode::invalid_argument, words, [&] { resolve(request, spec()); });
}

TEST(Request, GuidanceListsGiveEveryStepItsBin) {
  // Sigmas 1, .99375, .9875, .98125, .975, .909375, .725, .421875; a step takes the first bin whose timestep is not
  // above its sigma.
  const auto r = resolve({.step_count = 8,
                          .guidance_timesteps = {1.0, 0.98125, 0.9},
                          .guidance_scales = {1, 6, 3},
                          .stg_scales = {0, 4, 2},
                          .guidance_rescales = {0.7},
                          .skip_blocks = {{}, {0, 2}, {-1}}},
                         spec());
  ASSERT_EQ(r.guidance.size(), 8u);
  const std::vector<int> bins = {0, 1, 1, 1, 2, 2, 2, 2};  // .98125 ties with its bin and takes it
  for (size_t i = 0; i < bins.size(); ++i) {
    EXPECT_EQ(r.guidance[i].scale, (std::vector<double>{1, 6, 3})[bins[i]]) << i;
    EXPECT_EQ(r.guidance[i].stg_scale, (std::vector<double>{0, 4, 2})[bins[i]]) << i;
    EXPECT_EQ(r.guidance[i].skip_blocks, (std::vector<std::vector<int64_t>>{{}, {0, 2}, {-1}})[bins[i]]) << i;
    EXPECT_EQ(r.guidance[i].rescale, 0.7) << i;
  }
}

TEST(Request, SkippedStepsAndStrengthCutTheSchedule) {
  const auto all = linear_quadratic_sigmas(6);
  EXPECT_EQ(resolve({.step_count = 6, .skip_last_steps = 2}, spec()).sigmas,
            std::vector<double>(all.begin(), all.begin() + 4));
  EXPECT_EQ(resolve({.step_count = 6, .skip_first_steps = 4, .input_video_path = "a.mp4"}, spec()).sigmas,
            std::vector<double>(all.begin() + 4, all.end()));
  // diffusers: min(int(6 * 0.5), 6) = 3 steps stay.
  EXPECT_EQ(resolve({.step_count = 6, .input_video_path = "a.mp4", .strength = 0.5}, spec()).sigmas,
            std::vector<double>(all.begin() + 3, all.end()));
  EXPECT_EQ(resolve({.step_count = 6, .input_video_path = "a.mp4", .strength = 1.0}, spec()).sigmas, all);
  // Zeros are answers, and go with everything; an explicit list is cut as well.
  EXPECT_EQ(resolve({.step_count = 6, .skip_first_steps = 0, .skip_last_steps = 0, .input_video_path = "a.mp4", .strength = 0.5}, spec()).sigmas,
            std::vector<double>(all.begin() + 3, all.end()));
  EXPECT_EQ(resolve({.sigmas = {1, 0.75, 0.5, 0.25}, .skip_first_steps = 1, .skip_last_steps = 1, .input_video_path = "a.mp4"}, spec()).sigmas,
            (std::vector<double>{0.75, 0.5}));
}

TEST(Request, GuidanceListsAndCutsAreCheckedByName) {
  const std::vector<Refusal> refusals = {
      {{.guidance_timesteps = {1.0, 0.5}, .guidance_scales = {1, 2, 3}}, "guidance has 3 entries"},
      {{.guidance_timesteps = {0.5, 1.0}}, "guidance timesteps must fall"},
      {{.guidance_timesteps = {1.5}}, "guidance timestep 1.5"},
      {{.stg_scales = {1, 2}}, "stg-scale has 2 entries"},
      {{.stg_scales = {-1}}, "stg-scale -1"},
      {{.guidance_rescales = {0.5, 2}}, "guidance rescale 2"},
      {{.skip_blocks = {{3}}}, "skip-blocks: 3 (given, or of preset \"default\"): this model has blocks 0 to 2"},
      {{.skip_blocks = {{-4}}}, "skip-blocks: -4"},
      {{.stg_mode = "values"}, "stg-mode \"values\" is not one of"},
      {{.step_count = 4, .skip_last_steps = 4}, "leaves none of the 4"},
      {{.step_count = 4, .skip_last_steps = -1}, "-1"},
      {{.step_count = 4, .skip_first_steps = 2}, "needs an input video"},
      {{.strength = 0.5}, "strength needs an input video"},
      {{.input_video_path = "a.mp4", .strength = 0.0}, "leaves none"},
      {{.input_video_path = "a.mp4", .strength = 1.5}, "strength 1.5"},
      {{.skip_first_steps = 1, .input_video_path = "a.mp4", .strength = 0.5}, "exclude each other"},
  };
  for (const auto& [request, words] : refusals)
    expect_error(ErrorCode::invalid_argument, words, [&] { resolve(request, spec()); });
}

TEST(Request, TheEdgesOfTheRangesAreLegal) {
  for (const Request& request :
       {Request{.width = 1, .height = 1, .frame_count = 1}, Request{.step_count = 1}, Request{.step_count = 1000},
        Request{.guidance_scale = 0}, Request{.guidance_rescale = 1.0}, Request{.seed = UINT64_MAX},
        Request{.max_text_tokens = 1}, Request{.decode_timestep = 1.0, .decode_noise_scale = 1.0},
        Request{.frame_count = 17, .conditions = {{"a.png", 16, 0.0}}}})
    EXPECT_NO_THROW(resolve(request, spec()));
}

TEST(Request, AsJsonItHoldsEverythingThatWasResolved) {
  const auto resolved = resolve({.prompt = "a \"b\" \n \xff",
                                 .width = 100,
                                 .height = 64,
                                 .frame_count = 17,
                                 .step_count = 2,
                                 .conditions = {{"a.png", 8, 0.5}}},
                                spec());
  const auto j = nlohmann::json::parse(to_json(resolved, spec()));  // bytes that are no UTF-8 must not break it
  EXPECT_EQ(j["width"], 100);
  EXPECT_EQ(j["computed"]["width"], 128);
  EXPECT_EQ(j["num_frames"], 17);
  EXPECT_EQ(j["sigmas"].size(), 2u);
  EXPECT_EQ(j["seed"], spec().preset("").seed);
  EXPECT_EQ(j["conditions"][0]["frame"], 8);
  EXPECT_EQ(j["release"], spec().release);
  EXPECT_EQ(j["decode_timestep"], 0.05);
  EXPECT_EQ(to_json(resolved, spec()), to_json(resolved, spec()));
}

}  // namespace
}  // namespace ltxv
