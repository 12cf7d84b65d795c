// Upscalers and the second pass through the C ABI and its wrapper, with an upsampler whose result is known: all weights 0, so that
// every latent becomes the last bias.
#include <bit>
#include <cstring>
#include <ltxv/ltxv.hpp>

#include "api/fixture.h"

namespace ltxv::test {
namespace {

std::string constant_upsampler(const TempFolder& folder) {
  ltxv::tensors tensors;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape, float value = 0) {
    size_t count = 1;
    for (const int64_t n : shape) count *= static_cast<size_t>(n);
    tensors.add(name, shape, std::vector<float>(count, value));
  };
  const auto conv = [&](const std::string& name, int64_t in, int64_t out, float bias = 0) {
    add(name + ".weight", {out, in, 3, 3, 3});
    add(name + ".bias", {out}, bias);
  };
  conv("initial_conv", 8, 32);
  add("initial_norm.weight", {32});
  add("initial_norm.bias", {32});
  for (const std::string stage : {"res_blocks.0", "post_upsample_res_blocks.0"})
    for (const std::string part : {"1", "2"}) {
      conv(stage + ".conv" + part, 32, 32);
      add(stage + ".norm" + part + ".weight", {32});
      add(stage + ".norm" + part + ".bias", {32});
    }
  add("upsampler.0.weight", {128, 32, 3, 3});
  add("upsampler.0.bias", {128});
  conv("final_conv", 32, 8, 0.5f);
  tensors.save(folder / "up.safetensors");
  return folder / "up.safetensors";
}

TEST(Upscale, GivesNormalisedLatentsOfTwiceTheSize) {
  const TempFolder folder;
  const ltxv::engine engine({.model = kTinyModel, .dtype = "fp32", .thread_count = 1, .upscalers = {constant_upsampler(folder)}});
  const std::vector<int64_t> shape = {1, 8, 2, 2, 3};
  ltxv::tensors latents;
  latents.add("latents", shape, std::vector<float>(96, 1.0f));
  const auto large = engine.upscale(latents);
  const auto view = large["latents"];
  EXPECT_EQ(std::vector<int64_t>(view.shape.begin(), view.shape.end()), (std::vector<int64_t>{1, 8, 2, 4, 6}));
  const auto vae = ltxv::tensors::load(kTinyModel + "/vae/diffusion_pytorch_model.safetensors");
  const auto values = view.as<float>();
  // One value a channel, (0.5 - mean) / deviation: the statistics are stored in bf16, the upper half of an f32.
  const auto statistic = [&](const char* name, size_t channel) {
    uint16_t half = 0;
    std::memcpy(&half, vae[name].bytes.data() + 2 * channel, 2);
    return std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
  };
  for (size_t c = 0; c < 8; ++c)
    for (size_t i = 0; i < 48; ++i)
      ASSERT_NEAR(values[c * 48 + i], (0.5f - statistic("latents_mean", c)) / statistic("latents_std", c), 1e-5) << c;
}

TEST(Upscale, NeedsAnUpscaler) {
  const ltxv::engine engine({.model = kTinyModel, .dtype = "fp32", .thread_count = 1});
  ltxv::tensors latents;
  latents.add("latents", std::vector<int64_t>{1, 8, 1, 1, 2}, std::vector<float>(16));
  try {
    engine.upscale(latents);
    FAIL() << "an engine without upscaler enlarged latents";
  } catch (const ltxv::error& e) {
    EXPECT_EQ(e.code(), LTXV_INVALID_ARGUMENT);
    EXPECT_NE(std::string(e.what()).find("--upscaler"), std::string::npos) << e.what();
  }
}

TEST(SecondPass, EveryFieldArrives) {
  const TempFolder folder;
  const std::string path = constant_upsampler(folder);
  const ltxv::engine engine({.model = kTinyModel, .dtype = "fp32", .thread_count = 1, .upscalers = {path}});
  ltxv::generate_options o{.prompt = "x", .width_px = 128, .height_px = 128, .frame_count = 9, .step_count = 2};
  o.second_pass = {.sigmas = {0.75, 0.5, 0.25},
                   .skip_first_steps = 1,
                   .skip_last_steps = 1,
                   .guidance_timesteps = {0.9, 0.1},
                   .guidance_scales = {2, 3},
                   .guidance_rescales = {0.25},
                   .stg_scales = {1, 2},
                   .stg_mode = "residual",
                   .skip_blocks = "1;2",
                   .cfg_star = true,
                   .stochastic = true,
                   .downscale = 0.5,
                   .adain = 0.0,
                   .tone_map = 0.5};
  const auto j = nlohmann::json::parse(engine.resolve(o));
  EXPECT_EQ(j["passes"], 2);
  EXPECT_EQ(j["upscaler"], nlohmann::json::array({path}));
  EXPECT_EQ(j["computed"]["width"], 64);
  EXPECT_EQ(j["pass2_computed"]["width"], 128);
  EXPECT_EQ(j["pass2_sigmas"], nlohmann::json::array({0.5}));
  EXPECT_EQ(j["pass2_guidance_timesteps"], nlohmann::json::array({0.9, 0.1}));
  EXPECT_EQ(j["pass2_guidance_scale"], nlohmann::json::array({2, 3}));
  EXPECT_EQ(j["pass2_guidance_rescale"], 0.25);
  EXPECT_EQ(j["pass2_stg_scale"], nlohmann::json::array({1, 2}));
  EXPECT_EQ(j["pass2_stg_mode"], "residual");
  EXPECT_EQ(j["pass2_skip_blocks"], nlohmann::json::parse("[[1],[2]]"));
  EXPECT_EQ(j["pass2_cfg_star"], true);
  EXPECT_EQ(j["pass2_stochastic"], true);
  EXPECT_EQ(j["downscale"], 0.5);
  EXPECT_EQ(j["adain"], 0);
  EXPECT_EQ(j["tone_map"], 0.5);
  EXPECT_EQ(engine.resolve({.request_json = j.dump()}), engine.resolve(o));
  // Zeros and switches that are off on purpose: bits of zero_fields.
  o.skip_first_steps = 0, o.skip_last_steps = 0, o.cfg_star = true, o.stochastic = true;
  o.second_pass.skip_first_steps = o.second_pass.skip_last_steps = 0;
  o.second_pass.cfg_star = o.second_pass.stochastic = false;
  const auto off = nlohmann::json::parse(engine.resolve(o));
  EXPECT_EQ(off["sigmas"].size(), 2u);
  EXPECT_EQ(off["cfg_star"], true);
  EXPECT_EQ(off["stochastic"], true);
  EXPECT_EQ(off["pass2_sigmas"].size(), 3u);
  EXPECT_EQ(off["pass2_cfg_star"], false);
  EXPECT_EQ(off["pass2_stochastic"], false);
  EXPECT_EQ(engine.resolve({.request_json = off.dump()}), engine.resolve(o));
  o.second_pass = {};
  o.pass_count = 1;
  EXPECT_FALSE(nlohmann::json::parse(engine.resolve(o)).contains("passes"));
}

TEST(SecondPass, UpscalersAndTheirCountGoTogether) {
  ltxv_error error = ltxv_error_init();
  ltxv_engine_options options = ltxv_engine_options_init();
  options.model = kTinyModel.c_str();
  options.upscaler_count = 1;
  ltxv_engine* engine = nullptr;
  EXPECT_EQ(ltxv_engine_open(&options, &engine, &error), LTXV_INVALID_ARGUMENT);
  EXPECT_NE(std::string(error.message).find("upscaler_count is 1, upscalers is NULL"), std::string::npos) << error.message;
}

}  // namespace
}  // namespace ltxv::test
