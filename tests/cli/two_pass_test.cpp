// Presets, guidance lists and two passes through the program and its request files.
#include "cli/process.h"
#include "support/small_upsampler.h"

namespace ltxv::test {
namespace {

using nlohmann::json;

/// The tiny model has three blocks; the lists have the form of the published ones.
constexpr const char* kRelease = R"({"name": "mine", "base": "ltxv-0.9.5+", "presets": {
  "default": {"stochastic": true},
  "multiscale": {"num_inference_steps": 6, "skip_last_steps": 2, "guidance_timesteps": [1.0, 0.97, 0.9], "guidance_scale": [1, 6, 1],
    "stg_scale": [0, 4, 1], "guidance_rescale": [1, 0.5, 1], "skip_blocks": [[], [0, 2], [1]], "cfg_star": true,
    "second_pass": {"downscale_factor": 0.6666666, "num_inference_steps": 6, "skip_first_steps": 4, "guidance_timesteps": [1.0],
      "guidance_scale": [1], "stg_scale": [1], "guidance_rescale": [1], "skip_blocks": [2], "cfg_star": true,
      "tone_map_compression_ratio": 0.6}}}})";

class CliTwoPasses : public ::testing::Test {
 protected:
  /// 9 frames 96x96: 64x64, then 128x128.
  std::vector<std::string> words(std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"generate", "a red circle", "-m", kTinyModel, "--release", release_, "--width", "96", "--height",
                                 "96", "--frames", "9", "--threads", "1", "--upscaler", spatial_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  json printed(std::vector<std::string> arguments) const {
    arguments.push_back("--print-request");
    const Finished f = run(std::move(arguments));
    EXPECT_EQ(f.exit_code, 0) << f.err;
    return json::parse(f.out, nullptr, false);
  }
  /// What the program makes of `request` as a file, with options behind it.
  json again(const json& request, std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"generate", "--release", release_, "--request", folder_.write("r.json", request.dump())};
    all.insert(all.end(), more.begin(), more.end());
    return printed(std::move(all));
  }

  TempFolder folder_;
  std::string release_ = folder_.write("mine.json", kRelease), spatial_ = write_small_upsampler(folder_, "spatial.safetensors", false);
};

TEST_F(CliTwoPasses, APrintedRequestHoldsEveryListAndGivesItselfAgain) {
  const json j = printed(words());
  EXPECT_EQ(j["preset"], "multiscale");
  EXPECT_EQ(j["guidance_timesteps"], json({1.0, 0.97, 0.9}));
  EXPECT_EQ(j["guidance_scale"], json({1, 6, 1}));
  EXPECT_EQ(j["skip_blocks"], json::parse("[[], [0, 2], [1]]"));
  EXPECT_EQ(j["sigmas"].size(), 4u);
  EXPECT_EQ(j["pass2_sigmas"].size(), 2u);
  EXPECT_EQ(j["pass2_guidance_timesteps"], json({1.0}));
  EXPECT_EQ(j["tone_map"], 0.6);
  EXPECT_EQ(again(j), j);
  // Everything the preset says, answered otherwise.
  const json other = printed(words({"--guidance-timesteps", "1,0.5", "--guidance", "2,3", "--stg-scale", "0", "--guidance-rescale", "0",
                                    "--skip-blocks", "1", "--no-cfg-star", "--skip-last-steps", "0", "--pass2-skip-first-steps", "0",
                                    "--pass2-guidance-timesteps", "1,0.5", "--pass2-guidance", "3,2", "--pass2-stg-scale", "0",
                                    "--no-pass2-cfg-star", "--pass2-stochastic", "--tone-map", "0", "--adain", "0"}));
  EXPECT_EQ(other["sigmas"].size(), 6u);
  EXPECT_EQ(other["pass2_sigmas"].size(), 6u);
  EXPECT_EQ(other["cfg_star"], false);
  EXPECT_EQ(other["stg_scale"], 0);
  EXPECT_EQ(other["pass2_stg_scale"], 0);
  EXPECT_EQ(other["pass2_cfg_star"], false);
  EXPECT_EQ(other["pass2_stochastic"], true);
  EXPECT_EQ(other["tone_map"], 0);
  EXPECT_EQ(other["adain"], 0);
  EXPECT_EQ(again(other), other);
}

TEST_F(CliTwoPasses, RequestFilesTakeTheSameAnswers) {
  const json base = {{"prompt", "x"}, {"model", kTinyModel}, {"upscaler", {spatial_}}};
  json asked = base;
  asked.update({{"skip_last_steps", 0}, {"pass2_skip_first_steps", 0}, {"cfg_star", false}, {"pass2_cfg_star", false},
                {"stochastic", true}, {"guidance_scale", {1, 2, 3}}, {"tone_map", 0}});
  const json j = again(asked);
  EXPECT_EQ(j["sigmas"].size(), 6u);
  EXPECT_EQ(j["pass2_sigmas"].size(), 6u);
  EXPECT_EQ(j["cfg_star"], false);
  EXPECT_EQ(j["pass2_cfg_star"], false);
  EXPECT_EQ(j["stochastic"], true);
  EXPECT_EQ(j["guidance_scale"], json({1, 2, 3}));
  // The command line wins, in both directions.
  EXPECT_EQ(again(asked, {"--cfg-star", "--no-stochastic", "--skip-last-steps", "3"})["cfg_star"], true);
  EXPECT_EQ(again(asked, {"--no-stochastic"}).value("stochastic", false), false);
  EXPECT_EQ(again(asked, {"--skip-last-steps", "3"})["sigmas"].size(), 3u);
  // Of the preset that goes with one pass: stochastic.
  EXPECT_EQ(again(base, {"--passes", "1"})["stochastic"], true);
  EXPECT_EQ(again(base, {"--passes", "1", "--no-stochastic"})["stochastic"], false);
}

TEST_F(CliTwoPasses, WhatDoesNotGoTogetherNamesBothOptions) {
  auto without = words({"--preset", "multiscale"});
  without.erase(std::find(without.begin(), without.end(), "--upscaler"), std::find(without.begin(), without.end(), spatial_) + 1);
  const Finished f = run(without);
  EXPECT_EQ(f.exit_code, 2);
  expect_one_line(f.err);
  const std::string line = "preset \"multiscale\" makes two passes and needs a latent upsampler: --upscaler names one";
  EXPECT_NE(f.err.find(line), std::string::npos) << f.err;
}

TEST_F(CliTwoPasses, ATemporalUpsamplerMakesTheFramesInBetween) {
  const std::string temporal = write_small_upsampler(folder_, "temporal.safetensors", true);
  EXPECT_EQ(run({"info", temporal, "--json"}).json_lines()[0]["enlarges"], "time");
  EXPECT_EQ(run({"info", spatial_, "--json"}).json_lines()[0]["enlarges"], "space");
  Program program({"generate", "a red circle", "-m", kTinyModel, "--width", "64", "--height", "64", "--frames", "17", "--fps", "24",
                   "--steps", "2", "--threads", "1", "--upscaler", temporal, "-o", "o.mkv", "--save-latents", "l.safetensors", "--json"});
  const Finished f = program.wait();
  ASSERT_EQ(f.exit_code, 0) << f.err;
  const json result = f.json_lines().back();
  EXPECT_EQ(result["frames"], 17);
  EXPECT_EQ(result["fps"], 24);
  EXPECT_EQ(result["request"]["computed"]["num_frames"], 9);
  EXPECT_EQ(result["request"]["pass2_computed"]["num_frames"], 17);
  EXPECT_FALSE(result["request"].contains("downscale"));
  const json clip = run({"info", program.folder() + "/o.mkv", "--json"}).json_lines()[0];
  EXPECT_EQ(clip["frames"], 17);
  EXPECT_EQ(clip["frame_rate"], 24);
  EXPECT_EQ(clip["metadata"]["upscaler"], json({temporal}));
  // The settings in the file make it again.
  Program again({"replay", program.folder() + "/o.mkv", "-o", "o.mkv", "--quiet"});
  ASSERT_EQ(again.wait().exit_code, 0) << again.err_so_far();
  EXPECT_TRUE(read_file(again.folder() + "/o.mkv") == read_file(program.folder() + "/o.mkv"));
  // The upsampler alone: 3 latent frames become 5.
  const Finished alone = Program({"upscale", program.folder() + "/l.safetensors", "-m", kTinyModel, "--upscaler", temporal, "-o",
                                  "u.safetensors", "--threads", "1", "--json"})
                             .wait();
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  EXPECT_EQ(alone.json_lines().back()["shape"], json({1, 8, 5, 2, 2}));
}

}  // namespace
}  // namespace ltxv::test
