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

TEST_F(TwoPasses, WithImagesEqualTheOfficialPipeline) {
  const test::Golden golden("upscale");
  auto r = request();
  r.second_pass.sigmas = {0.9094, 0.725};
  r.image_noise_scale = 0.15;
  // make_upscale_golden.py, STILLS
  for (const auto& [name, frame, strength] : {std::tuple{"first", 0, 1.0}, {"last", 8, 0.8}}) {
    const auto path = folder_ / (std::string(name) + ".safetensors");
    save_tensors(path, {{"frames", test::made(std::string("still ") + name, {1, 3, 1, 128, 160}, 0.5f)}});
    r.conditions.push_back({path, frame, strength});
  }
  std::map<std::string, at::Tensor> draws;
  for (const auto& name : golden.below("stills/noise/")) draws[name] = golden["stills/noise/" + name];
  ASSERT_EQ(draws.size(), 9u);  // a volume, a condition's own noise, and one a step, for each pass: 2 + 3 and 2 + 2
  save_tensors(r.noise_path = folder_ / "noise.safetensors", draws);
  EXPECT_MATCHES(open({spatial()})->generate(r).latents, golden["stills/latents"], kTolerance);
}

// Frames at the size and rate of one pass, as a run with two passes takes them from a file.
at::Tensor at_pass(const at::Tensor& frames, const ResolvedRequest& pass) {
  const auto kept = frames.slice(2, 0, std::nullopt, pass.frame_step);
  const auto pictures = kept[0].transpose(0, 1).contiguous();
  return at::upsample_bilinear2d(pictures, {pass.computed.height, pass.computed.width}, false).transpose(0, 1).unsqueeze(0);
}

// Two runs of one pass each and an upsampler between them are a run with two: whatever a single run can do, both passes do.
class TwoSingleRuns : public TwoPasses {
 protected:
  struct Clip {
    at::Tensor frames;
    int64_t frame_index;
    double strength;
  };
  std::vector<Clip> conditions_;
  at::Tensor control_, input_;

  // The request of one pass, or of both where `size` is not given.
  Request with_files(Request r, const ResolvedRequest* size) {
    const auto file = [&](const char* name, const at::Tensor& frames) {
      const auto path = folder_ / text(name, size ? size->computed.width : 0, "_", size ? size->frame_step : 0, ".safetensors");
      save_tensors(path, {{"frames", size ? at_pass(frames, *size).contiguous() : frames}});
      return path;
    };
    for (size_t i = 0; i < conditions_.size(); ++i)
      r.conditions.push_back({file(text("condition", i, "_").c_str(), conditions_[i].frames),
                              conditions_[i].frame_index / (size ? size->frame_step : 1), conditions_[i].strength});
    if (control_.defined()) r.control_path = file("control", control_);
    if (input_.defined() && r.input_video_path.empty()) r.input_video_path = file("input", input_);
    return r;
  }
  Request of_pass(const Request& asked, const ResolvedRequest& pass, const char* prefix, const std::string& latents) {
    Request r = asked;
    r.second_pass = {}, r.seconds = 0, r.step_count = 0, r.strength.reset();
    r.width = pass.computed.width, r.height = pass.computed.height, r.frame_count = pass.computed.frames;
    r.frames_per_second = pass.frames_per_second;
    r.sigmas = pass.sigmas, r.skip_first_steps = r.skip_last_steps = 0;
    r.guidance_scale.reset(), r.guidance_scales = pass.request.guidance_scales;
    std::map<std::string, at::Tensor> draws;
    for (const auto& [name, draw] : test::tensors_of(asked.save_noise_path)) {
      const bool second = name.starts_with("pass2_");
      if (second == (*prefix != 0) || name == "decode") draws[second ? name.substr(6) : name] = draw;
    }
    draws["decode"] = at::zeros({1, 8, pass.latent.frames, pass.latent.height, pass.latent.width});
    save_tensors(r.noise_path = folder_ / text(prefix, "noise.safetensors"), draws);
    r.save_noise_path.clear();
    r.input_video_path = latents;
    return with_files(r, &pass);
  }

  void expect_composed(Request r, const std::vector<std::string>& upscalers) {
    const auto engine = open(upscalers), plain = test::open_tiny();
    r.save_noise_path = folder_ / "draws.safetensors";
    const auto both = engine->generate(with_files(r, nullptr));
    const auto& [first_pass, second_pass] = std::tie(both.resolved, both.resolved.last_pass());
    const auto first = plain->generate(of_pass(r, first_pass, "", ""));
    const auto enlarged = engine->upscale(first.latents, 1.0);
    save_tensors(folder_ / "enlarged.safetensors", {{"latents", enlarged}});
    const auto second = plain->generate(of_pass(r, second_pass, "pass2_", folder_ / "enlarged.safetensors"));
    EXPECT_MATCHES(both.latents, second.latents, 1e-5);
  }

  static at::Tensor clip(const char* name, int64_t frames) { return test::made(name, {1, 3, frames, 128, 160}, 1.0f); }
  std::vector<LoraItem> lora() {
    const test::Golden golden("lora");
    std::map<std::string, at::Tensor> tensors;
    for (const auto& module : golden.below("first/down/")) {
      tensors["transformer." + module + ".lora_A.weight"] = golden["first/down/" + module];
      tensors["transformer." + module + ".lora_B.weight"] = golden["first/up/" + module];
    }
    save_tensors(folder_ / "lora.safetensors", tensors);
    return {{folder_ / "lora.safetensors", 0.8}};
  }
};

TEST_F(TwoSingleRuns, WithConditionsOfEveryKind) {
  auto r = request();
  r.frame_count = 25;
  r.image_noise_scale = 0.15;
  conditions_ = {{clip("prefix", 9), 0, 1.0}, {clip("still", 1), 13, 0.7}, {clip("later", 9), 16, 0.9}};
  expect_composed(r, {spatial()});
}

TEST_F(TwoSingleRuns, WithLoraControlGuidanceAndStochasticSteps) {
  auto r = request();
  r.loras = lora();
  r.control_strength = 0.8;
  control_ = clip("control", 9);
  r.stochastic = true;
  r.guidance_scale = 3;
  r.second_pass.guidance_scales = {2};
  expect_composed(r, {spatial()});
}

TEST_F(TwoSingleRuns, WithAVideoToStartFrom) {
  auto r = request();
  r.skip_first_steps = 1;
  input_ = clip("input", 9);
  expect_composed(r, {spatial()});
}

TEST_F(TwoSingleRuns, WithATemporalUpsampler) {
  auto r = request();
  r.frame_count = 33;  // 5 latent frames, of which the first pass makes 3
  conditions_ = {{clip("prefix", 17), 0, 1.0}, {clip("still", 1), 26, 0.7}};
  control_ = clip("control", 33);
  expect_composed(r, {temporal()});
}

TEST_F(TwoPasses, AMaskKeepsTheVideoAtBothSizes) {
  // 192 x 128 at a half: no resize. White from column 80 on: the cell of columns 64 to 95 is generated, in the first pass that of 32 to 63.
  const auto engine = open({spatial()});
  auto r = request();
  r.width = 192;
  r.image_noise_scale.reset();
  r.second_pass.downscale = 0.5;
  const auto video = test::made("video", {1, 3, 9, 128, 192}, 1.0f);
  save_tensors(r.input_video_path = folder_ / "video.safetensors", {{"frames", video}});
  auto mask = at::zeros({1, 1, 1, 128, 192});
  mask.narrow(4, 80, 112).fill_(1);
  save_tensors(r.mask_path = folder_ / "mask.safetensors", {{"mask", mask}});
  r.composite = true;
  r.save_noise_path = folder_ / "draws.safetensors";
  const auto both = engine->generate(r);
  const auto encoded = engine->encode(video);
  EXPECT_TRUE(at::equal(both.latents.narrow(4, 0, 2), encoded.narrow(4, 0, 2)));
  EXPECT_GT(test::error_over_deviation(both.latents.narrow(4, 2, 4), encoded.narrow(4, 2, 4)), 0.5);
  EXPECT_TRUE(at::equal(both.frames.narrow(4, 0, 80), video.narrow(4, 0, 80)));
  EXPECT_EQ(*both.resolved.last_pass().request.image_noise_scale, 0);

  // The same as two runs of one pass, the second on the enlarged latents where the mask is white and on the video's own elsewhere.
  std::map<std::string, at::Tensor> first, second;
  for (const auto& [name, draw] : test::tensors_of(r.save_noise_path))
    (name.starts_with("pass2_") ? second[name.substr(6)] : first[name]) = draw;
  auto one = r;
  one.second_pass = {}, one.composite = false, one.save_noise_path.clear();
  one.width = 96, one.height = 64;
  const auto pictures = video[0].transpose(0, 1).contiguous();
  save_tensors(one.input_video_path = folder_ / "small.safetensors",
               {{"frames", at::upsample_bilinear2d(pictures, {64, 96}, false).transpose(0, 1).unsqueeze(0).contiguous()}});
  save_tensors(one.noise_path = folder_ / "first.safetensors", first);
  const auto enlarged = engine->upscale(test::open_tiny()->generate(one).latents, 1.0);
  one.width = 192, one.height = 128;
  one.sigmas = both.resolved.last_pass().sigmas;
  save_tensors(one.noise_path = folder_ / "second.safetensors", second);
  save_tensors(one.input_video_path = folder_ / "latents.safetensors",
               {{"latents", at::cat({encoded.narrow(4, 0, 2), enlarged.narrow(4, 2, 4)}, 4)}});
  EXPECT_MATCHES(both.latents, test::open_tiny()->generate(one).latents, 1e-5);
}

TEST_F(TwoPasses, AMaskHoldsAlsoWhereTheResultIsResizedAndWithATemporalUpsampler) {
  auto r = request();  // 160 x 128, computed at 192 x 128
  r.frame_count = 17;
  const auto video = test::made("video", {1, 3, 17, 128, 160}, 1.0f);
  save_tensors(r.input_video_path = folder_ / "video.safetensors", {{"frames", video}});
  auto mask = at::zeros({1, 1, 17, 128, 160});
  mask.narrow(2, 7, 10).narrow(4, 100, 60).fill_(1);  // frames 7 and 8 are white in the first pass's frame 4 of every second one
  save_tensors(r.mask_path = folder_ / "mask.safetensors", {{"mask", mask}});
  r.composite = true;
  for (const auto& upscalers : {std::vector{spatial()}, {temporal()}, {spatial(), temporal()}}) {
    const auto result = open(upscalers)->generate(r);
    EXPECT_TRUE(at::equal(result.frames.narrow(2, 0, 7), video.narrow(2, 0, 7)));
    EXPECT_TRUE(at::equal(result.frames.narrow(4, 0, 100), video.narrow(4, 0, 100)));
    EXPECT_FALSE(at::equal(result.frames.narrow(2, 8, 9).narrow(4, 100, 60), video.narrow(2, 8, 9).narrow(4, 100, 60)));
  }
}

TEST_F(TwoPasses, OutpaintingCopiesTheClipAtTheSizeOfTheResult) {
  auto r = request();
  const auto video = test::made("narrow", {1, 3, 5, 128, 64}, 1.0f);  // the middle of 160 columns: 48 to 111
  save_tensors(r.input_video_path = folder_ / "video.safetensors", {{"frames", video}});
  r.outpaint = r.composite = true;
  const auto frames = open({spatial()})->generate(r).frames;
  EXPECT_EQ(frames.sizes(), at::IntArrayRef({1, 3, 9, 128, 160}));
  EXPECT_TRUE(at::equal(frames.narrow(2, 0, 5).narrow(4, 48, 64), video));
}

TEST_F(TwoPasses, AControlClipAsLongAsTheVideoIsLongEnough) {
  // 9 frames are 2 latent ones: the temporal upsampler makes 3 of 2, so both passes compute 17 and need frames behind the clip's end.
  auto r = test::small_request(9, 1);
  r.guidance_scale = 1, r.decode_noise_scale = 0.0;
  const auto frames = test::made("control", {1, 3, 9, 64, 96}, 1.0f);
  const auto with_control = [&](const at::Tensor& control) {
    save_tensors(r.control_path = folder_ / "control.safetensors", {{"frames", control.contiguous()}});
    return open({temporal()})->generate(r).latents;
  };
  const auto filled = at::cat({frames, frames.narrow(2, 8, 1).expand({1, 3, 8, 64, 96})}, 2);
  EXPECT_TRUE(at::equal(with_control(frames), with_control(filled)));
  test::expect_error(ErrorCode::invalid_argument, "control.safetensors: 8 usable frames, this run needs 9, or one picture",
                     [&] { with_control(frames.narrow(2, 0, 8)); });
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
