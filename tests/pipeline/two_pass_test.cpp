// Runs with two passes: the official pipeline's numbers, what is drawn, what is refused, and what the result is resized from.
#include <set>

#include "diffusion/latent_filters.h"
#include "pipeline/engine_fixture.h"
#include "support/made_upsampler.h"

namespace ltxv {
namespace {

constexpr double kTolerance = 1e-4;
const UpsamplerConfig kSpatial{.channels = 8, .width = 32, .blocks_a_stage = 2};
const UpsamplerConfig kTemporal{.channels = 8, .width = 64, .blocks_a_stage = 1, .spatial = false, .temporal = true};

class TwoPasses : public ::testing::Test {
 protected:
  std::shared_ptr<Engine> open(const std::vector<std::string>& upscalers) {
    return Engine::open({.model = test::golden_path("tiny_model"), .upscalers = upscalers, .device = "cpu", .dtype = "fp32", .thread_count = 2});
  }
  std::string spatial() { return test::write_upsampler_file(folder_, "spatial.safetensors", kSpatial); }
  std::string temporal() { return test::write_upsampler_file(folder_, "temporal.safetensors", kTemporal); }

  // 160 x 128 pixels at two thirds is 106 x 85, on the grid 96 x 64; enlarged 192 x 128.
  static Request request() {
    auto r = test::small_request(9, 0);
    r.width = 160, r.height = 128;
    r.sigmas = {1.0, 0.9937, 0.725};
    r.guidance_scale = 1;
    r.decode_noise_scale = 0.0;
    return r;
  }
  test::TempFolder folder_;
};

TEST_F(TwoPasses, EqualTheOfficialPipeline) {
  const test::Golden golden("upscale");
  auto r = request();
  r.second_pass.step_count = 10, r.second_pass.skip_first_steps = 6;
  r.second_pass.guidance_scales = {3}, r.second_pass.guidance_rescales = {0.7};
  r.second_pass.stg_scales = {1}, r.second_pass.skip_blocks = {{1}};
  save_tensors(r.noise_path = folder_ / "noise.safetensors", {{"initial", golden["two_passes/noise/initial"]},
                                                              {"pass2_initial", golden["two_passes/noise/pass2_initial"]}});
  for (const auto& path : {spatial(), test::write_upsampler_folder(folder_, "latent_upsampler", kSpatial)}) {
    const auto result = open({path})->generate(r);
    EXPECT_MATCHES(result.latents, golden["two_passes/latents"], kTolerance) << path;
    EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 9, 128, 160})) << path;
  }
}

TEST_F(TwoPasses, TheResultIsToneMappedDecodedClampedAndResized) {
  const auto engine = open({spatial()});
  auto r = request();
  r.second_pass.tone_map = 0.6;
  const auto result = engine->generate(r);
  const auto decoded = engine->decode(compress_tones(result.latents, 0.6), {.timestep = *result.resolved.request.decode_timestep, .noise_scale = 0});
  ASSERT_EQ(decoded.sizes(), at::IntArrayRef({1, 3, 9, 128, 192}));
  const auto pictures = decoded.clamp(-1, 1)[0].transpose(0, 1).contiguous();
  const auto expected = at::upsample_bilinear2d(pictures, {128, 160}, false).transpose(0, 1).unsqueeze(0);
  EXPECT_MATCHES(result.frames, expected, 1e-6);
}

TEST_F(TwoPasses, DrawsAreNamedAndRepeatTheRun) {
  const auto engine = open({spatial()});
  auto r = request();
  r.stochastic = true;
  r.save_noise_path = folder_ / "draws.safetensors";
  r.decode_noise_scale = 0.025;
  const auto first = engine->generate(r);
  std::set<std::string> names;
  for (const auto& [name, draw] : test::tensors_of(r.save_noise_path)) names.insert(name);
  // Three steps each: the second pass takes over `stochastic`, and has the released list of three levels.
  EXPECT_EQ(names, (std::set<std::string>{"initial", "stochastic_00", "stochastic_01", "stochastic_02", "pass2_initial", "pass2_stochastic_00",
                                          "pass2_stochastic_01", "pass2_stochastic_02", "decode"}));
  r.noise_path = r.save_noise_path;
  r.save_noise_path.clear();
  EXPECT_TRUE(at::equal(engine->generate(r).frames, first.frames));
}

TEST_F(TwoPasses, ATemporalUpsamplerDoublesFramesAndRate) {
  const auto engine = open({temporal()});
  auto r = test::small_request(17, 2);
  r.guidance_scale = 1, r.decode_noise_scale = 0.0;
  const auto result = engine->generate(r);
  // 17 frames are 3 latent ones, of which the first pass makes 2: frames 0 to 8 at half the rate.
  EXPECT_EQ(result.resolved.computed, (PixelShape{9, 64, 96}));
  EXPECT_EQ(result.resolved.frames_per_second, 12.5);
  EXPECT_EQ(result.resolved.last_pass().computed, (PixelShape{17, 64, 96}));
  EXPECT_EQ(result.resolved.last_pass().frames_per_second, 25);
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 17, 64, 96}));
}

TEST_F(TwoPasses, FramesThatDoNotDoubleAreCutOff) {
  auto r = test::small_request(9, 1);  // 2 latent frames: 2 become 3, of which the first 9 frames are kept
  r.guidance_scale = 1, r.decode_noise_scale = 0.0;
  const auto result = open({temporal()})->generate(r);
  EXPECT_EQ(result.resolved.last_pass().computed.frames, 17);
  EXPECT_EQ(result.frames.size(2), 9);
}

TEST_F(TwoPasses, UpsamplersActOneAfterTheOther) {
  auto r = request();
  r.frame_count = 17;
  const auto result = open({spatial(), temporal()})->generate(r);
  EXPECT_EQ(result.resolved.computed, (PixelShape{9, 64, 96}));
  EXPECT_EQ(result.resolved.last_pass().computed, (PixelShape{17, 128, 192}));
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 17, 128, 160}));
}

TEST_F(TwoPasses, ConditionsAreEncodedForEachPass) {
  const auto engine = open({spatial()});
  auto r = request();
  const auto still = at::rand({1, 3, 1, 64, 96}, at::kFloat) * 2 - 1;
  save_tensors(folder_ / "still.safetensors", {{"frames", still}});
  r.conditions = {{folder_ / "still.safetensors", 0, 1.0}};
  r.image_noise_scale = 0.0;
  const auto result = engine->generate(r);
  // A fully kept first frame comes out as it went in: the still, enlarged as torch enlarges pictures.
  const auto large = at::upsample_bilinear2d(still.select(2, 0), {128, 192}, false).unsqueeze(2);
  EXPECT_MATCHES(result.latents.narrow(2, 0, 1), engine->encode(large), 1e-5);
}

TEST_F(TwoPasses, ProgressCountsTheStepsOfBoth) {
  std::vector<int64_t> seen;
  open({spatial()})->generate(request(), {.on_progress = [&](const Progress& p) {
                                if (p.stage == Stage::denoise) seen.push_back(p.step * 100 + p.step_count);
                                return true;
                              },
                              .on_log = {},
                              .cancel = {}});
  EXPECT_EQ(seen, (std::vector<int64_t>{6, 106, 206, 306, 306, 406, 506, 606}));
}

TEST_F(TwoPasses, UpsamplersThatDoNotFitAreNamed) {
  auto other = kSpatial;
  other.channels = 16;
  const auto path = test::write_upsampler_file(folder_, "other.safetensors", other);
  test::expect_error(ErrorCode::bad_weights, "other.safetensors: an upsampler of 16 latent channels does not fit the VAE's 8",
                     [&] { open({path}); });
  test::expect_error(ErrorCode::bad_weights, "not a latent upsampler: tensor \"initial_conv.weight\" is missing",
                     [&] { open({test::golden_path("tiny_model/vae/diffusion_pytorch_model.safetensors")}); });
  test::expect_error(ErrorCode::io, "nothing.safetensors: no such file or folder", [&] { open({folder_ / "nothing.safetensors"}); });
}

TEST_F(TwoPasses, WhatCannotBeEnlargedIsRefusedFirst) {
  auto r = request();
  r.second_pass.downscale = 0.5;
  test::expect_error(ErrorCode::invalid_argument, "a first pass at 0.5 of the size needs a spatial upsampler; ",
                     [&] { open({temporal()})->generate(r); });
  const auto engine = open({spatial()});
  r.height = 32;
  test::expect_error(ErrorCode::invalid_argument, "height 32: 0.5 of it, the size of the first pass, is less than 32 pixels",
                     [&] { engine->generate(r); });
  r.height = r.width = 64, r.frame_count = 1;
  test::expect_error(ErrorCode::invalid_argument, "one latent position is too small", [&] { engine->generate(r); });
  r = request();
  r.pass_count = 2;
  test::expect_error(ErrorCode::invalid_argument, "two passes need a latent upsampler: --upscaler names one, --passes 1 does without",
                     [&] { test::open_tiny()->generate(r); });
  EXPECT_EQ(engine->generate(request()).frames.size(4), 160);  // still usable
}

}  // namespace
}  // namespace ltxv
