// How requests, presets and upsamplers become one pass or two.
#include <nlohmann/json.hpp>

#include "pipeline/request.h"
#include "pipeline/spec_files.h"
#include "support/expect_error.h"

namespace ltxv {
namespace {

using nlohmann::json;
using test::expect_error;

// The settings of the 13B development checkpoints, as published.
constexpr const char* kPreset = R"({"name": "multiscale", "num_inference_steps": 30, "skip_last_steps": 3,
  "guidance_timesteps": [1.0, 0.996, 0.9933, 0.985, 0.9767, 0.9008, 0.618], "guidance_scale": [1, 1, 6, 8, 6, 1, 1],
  "stg_scale": [0, 0, 4, 4, 4, 2, 1], "guidance_rescale": [1, 1, 0.5, 0.5, 1, 1, 1],
  "skip_blocks": [[], [0, 1], [2], [0], [1], [1], [1]], "cfg_star": true,
  "second_pass": {"downscale_factor": 0.6666666, "num_inference_steps": 30, "skip_first_steps": 17, "guidance_scale": 1, "stg_scale": 1,
                  "guidance_rescale": 1, "skip_blocks": [2], "cfg_star": true, "tone_map_compression_ratio": 0.6}})";

ModelSpec spec_with(const std::vector<UpsamplerConfig>& upsamplers, bool preset = true) {
  static const ModelSpec tiny = load_model_spec({.model = std::string(LTXV_SOURCE_DIR) + "/tests/golden/tiny_model"});
  ModelSpec spec = tiny;
  for (const UpsamplerConfig& config : upsamplers) spec.upsamplers.push_back({"up.safetensors", config});
  if (preset) spec.presets.push_back(preset_from_json(json::parse(kPreset), "presets", {}));
  return spec;
}

const UpsamplerConfig kSpatial{.channels = 8}, kTemporal{.channels = 8, .spatial = false, .temporal = true};

TEST(Passes, OnePassStaysOne) {
  const auto r = resolve({.prompt = "x"}, spec_with({}));
  EXPECT_EQ(r.request.preset, "default");
  EXPECT_EQ(r.request.pass_count, 1);
  EXPECT_TRUE(r.second_pass.empty());
  EXPECT_EQ(r.computed, r.padded);
  EXPECT_EQ(&r.last_pass(), &r);
  EXPECT_EQ(json::parse(to_json(r, spec_with({}))).count("passes"), 0u);
}

TEST(Passes, AnUpsamplerPicksThePresetWithTwoPasses) {
  const auto spec = spec_with({kSpatial});
  const auto r = resolve({.prompt = "x", .width = 1216, .height = 704, .frame_count = 121}, spec);
  EXPECT_EQ(r.request.preset, "multiscale");
  // 1216 x 704 at two thirds: 810 x 469, on the grid 800 x 448; twice that in the second pass.
  EXPECT_EQ(r.computed, (PixelShape{121, 448, 800}));
  ASSERT_EQ(r.second_pass.size(), 1u);
  EXPECT_EQ(r.last_pass().computed, (PixelShape{121, 896, 1600}));
  EXPECT_EQ(r.asked, (PixelShape{121, 704, 1216}));
  EXPECT_EQ(r.sigmas.size(), 27u);              // 30 without the last 3
  EXPECT_EQ(r.last_pass().sigmas.size(), 13u);  // 30 without the first 17
  EXPECT_EQ(r.all_steps, 40);
  EXPECT_EQ(r.last_pass().first_step, 27);
}

TEST(Passes, GuidanceListsOfThePresetHoldForTheFirstPassOnly) {
  const auto r = resolve({.prompt = "x"}, spec_with({kSpatial}));
  // Sigmas of 30 linear-quadratic steps meet the bins as the official code's do.
  std::vector<double> scales;
  for (const StepGuidance& g : r.guidance) scales.push_back(g.scale);
  EXPECT_EQ(std::vector<double>(scales.begin(), scales.begin() + 15), (std::vector<double>{1, 1, 1, 6, 6, 8, 8, 8, 8, 8, 6, 6, 6, 6, 1}));
  EXPECT_TRUE(r.request.cfg_star);
  for (const StepGuidance& g : r.last_pass().guidance) EXPECT_EQ(g, (StepGuidance{1, 1, 1, {2}}));
  EXPECT_EQ(r.last_pass().request.second_pass.tone_map, 0.6);
  EXPECT_EQ(r.last_pass().request.second_pass.adain, 1.0);
}

TEST(Passes, WhatIsGivenWinsOverThePreset) {
  Request request{.prompt = "x", .guidance_scale = 2};
  request.second_pass.sigmas = {0.8, 0.4};
  request.second_pass.guidance_scales = {4};
  request.second_pass.tone_map = 0.0;
  request.second_pass.downscale = 0.5;
  const auto r = resolve(request, spec_with({kSpatial}));
  EXPECT_EQ(r.request.guidance_scales, std::vector<double>{2});
  EXPECT_EQ(r.last_pass().sigmas, (std::vector<double>{0.8, 0.4}));  // the preset's skipped steps belong to its own schedule
  EXPECT_EQ(r.last_pass().guidance.front().scale, 4);
  EXPECT_EQ(r.last_pass().guidance.front().stg_scale, 1);
  EXPECT_EQ(r.last_pass().request.second_pass.tone_map, 0.0);
  EXPECT_EQ(r.computed.height, 224);  // half of 480 is 240
}

TEST(Passes, WithoutAPresetTheSecondPassGoesOnAsTheFirst) {
  Request request{.prompt = "x", .step_count = 4, .guidance_scale = 3, .cfg_star = true};
  const auto r = resolve(request, spec_with({kSpatial}, false));
  EXPECT_EQ(r.last_pass().sigmas, (std::vector<double>{0.9094, 0.725, 0.4219}));
  EXPECT_EQ(r.last_pass().guidance.front().scale, 3);
  EXPECT_TRUE(r.last_pass().request.cfg_star);
}

TEST(Passes, ATemporalUpsamplerHalvesFramesAndRateOfTheFirstPass) {
  // 33 frames are 5 latent ones: 3 become 5. 25 frames are 4: 3 become 5 as well, one more than needed. 1 stays 1.
  for (const auto& [frames, first, last] : {std::array<int64_t, 3>{33, 17, 33}, {25, 17, 33}, {1, 1, 1}, {9, 9, 17}}) {
    const auto r = resolve({.prompt = "x", .frame_count = frames, .frames_per_second = 30}, spec_with({kTemporal}, false));
    EXPECT_EQ(r.computed.frames, first) << frames;
    EXPECT_EQ(r.last_pass().computed.frames, last) << frames;
    EXPECT_EQ(r.frames_per_second, 15);
    EXPECT_EQ(r.last_pass().frames_per_second, 30);
    EXPECT_EQ(r.computed.width, r.padded.width);
  }
}

TEST(Passes, TheResolvedRequestIsComplete) {
  const auto spec = spec_with({kSpatial});
  const auto j = json::parse(to_json(resolve({.prompt = "x"}, spec), spec));
  EXPECT_EQ(j.at("passes"), 2);
  EXPECT_EQ(j.at("upscaler"), json::array({"up.safetensors"}));
  EXPECT_EQ(j.at("downscale"), 0.6666666);
  EXPECT_EQ(j.at("computed").at("width"), 448);  // 704 at two thirds, on the grid
  EXPECT_EQ(j.at("pass2_computed").at("width"), 896);
  EXPECT_EQ(j.at("pass2_sigmas").size(), 13u);
  EXPECT_EQ(j.at("pass2_guidance_scale"), 1);
  EXPECT_EQ(j.at("pass2_stg_scale"), 1);
  EXPECT_EQ(j.at("pass2_skip_blocks"), json::parse("[[2]]"));
  EXPECT_EQ(j.at("adain"), 1);
  EXPECT_EQ(j.at("tone_map"), 0.6);
}

TEST(Passes, WhatDoesNotGoTogetherIsNamed) {
  expect_error(ErrorCode::invalid_argument, "preset \"multiscale\" makes two passes and needs a latent upsampler: --upscaler names one",
               [] { resolve({.prompt = "x", .preset = "multiscale"}, spec_with({})); });
  expect_error(ErrorCode::invalid_argument, "a first pass at 0.666667 of the size needs a spatial upsampler; up.safetensors is a temporal one",
               [] { resolve({.prompt = "x", .preset = "multiscale"}, spec_with({kTemporal})); });
  Request request{.prompt = "x"};
  request.second_pass.tone_map = 0.5;
  expect_error(ErrorCode::invalid_argument, "settings of a second pass need a second pass", [&] { resolve(request, spec_with({})); });
  request.second_pass = {};
  request.second_pass.skip_last_steps = 0, request.second_pass.skip_first_steps = 0;  // skips nothing
  EXPECT_EQ(resolve(request, spec_with({})).request.pass_count, 1);
  request.second_pass.skip_last_steps = 1;
  expect_error(ErrorCode::invalid_argument, "settings of a second pass need a second pass", [&] { resolve(request, spec_with({})); });
  request.second_pass = {};
  request.second_pass.tone_map = 1.5;
  expect_error(ErrorCode::invalid_argument, "tone-map 1.5 is not between 0 and 1", [&] { resolve(request, spec_with({kSpatial})); });
  request = {.prompt = "x"};
  request.pass_count = 3;
  expect_error(ErrorCode::invalid_argument, "passes 3 is not 1 or 2", [&] { resolve(request, spec_with({kSpatial})); });
  // One pass at full size with the preset's first settings is legal.
  request.pass_count = 1, request.preset = "multiscale";
  EXPECT_TRUE(resolve(request, spec_with({})).second_pass.empty());
}

TEST(Passes, PresetsAreReadStrictly) {
  const auto read = [](const std::string& content) { return preset_from_json(json::parse(content), "presets", {}); };
  EXPECT_EQ(read(R"({"skip_blocks": [19]})").pass.skip_blocks, (std::vector<std::vector<int64_t>>{{19}}));
  EXPECT_EQ(read(R"({"guidance_scale": 2})").guidance_scale, 2);
  expect_error(ErrorCode::bad_weights, "\"skip_blocks\" mixes numbers and lists", [&] { read(R"({"skip_blocks": [[1], 2]})"); });
  expect_error(ErrorCode::bad_weights, "\"stg_scale\" holds something that is not a number", [&] { read(R"({"stg_scale": ["1"]})"); });
  expect_error(ErrorCode::unsupported, "upscale_factor", [&] { read(R"({"second_pass": {"upscale_factor": 2}})"); });
  expect_error(ErrorCode::bad_weights, "second_pass", [&] { read(R"({"second_pass": 3})"); });
}

}  // namespace
}  // namespace ltxv
