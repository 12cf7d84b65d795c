// A request as a JSON string: what one run resolved to and stored, asked for again through the same boundary.
#include <algorithm>
#include <ltxv/ltxv.hpp>

#include "fixture.h"

namespace ltxv::test {
namespace {

using nlohmann::json;

ltxv::engine open_engine() { return ltxv::engine({.model = kTinyModel, .dtype = "fp32", .thread_count = 1}); }

ltxv::generate_options small() {
  return {.prompt = "a red circle", .width_px = 64, .height_px = 32, .frame_count = 9, .step_count = 2, .seed = 3};
}

std::string refusal(const ltxv::engine& engine, const ltxv::generate_options& o) {
  try {
    (void)engine.resolve(o);
  } catch (const ltxv::error& e) {
    EXPECT_EQ(e.code(), LTXV_INVALID_ARGUMENT) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "accepted: " << o.request_json;
  return "";
}

TEST(RequestJson, WhatResolvesOnceResolvesToTheSameAgain) {
  const auto engine = open_engine();
  std::vector<ltxv::generate_options> requests(7, small());
  requests[1].negative_prompt = "";
  requests[1].seed = 0;
  requests[1].guidance_timesteps = {0.9, 0.1};
  requests[1].guidance_scales = {2, 3};
  requests[1].guidance_rescales = {0.25};
  requests[1].stg_scales = {1, 0};
  requests[1].stg_mode = "residual";
  requests[1].skip_blocks = "0,1;";
  requests[1].cfg_star = true;
  requests[1].stochastic = true;
  requests[2].conditions = {{.path = "a.png", .frame_index = 8, .strength = 0.0}};
  requests[2].image_noise_scale = 0.0;
  requests[2].image_prep = "official";
  requests[2].image_crf = 0;
  requests[2].frame_positions = "causal";
  requests[2].noise_kind = ltxv::noise_kind::torch_tokens;
  requests[3].window_frames = 40;
  requests[3].window_match = 0.0;
  requests[3].text_padding = "attended";
  requests[3].input_video_path = "in.mp4";
  requests[3].mask_path = "mask.png";
  requests[3].mask_blend = 1;
  requests[3].composite = true;
  requests[4].loras = {{.path = "a.safetensors", .strength = -0.5}};
  requests[4].control_path = "depth.mp4";
  requests[4].control_strength = 0.5;
  requests[4].max_text_tokens = 16;
  requests[5].noise_path = "draws.safetensors";
  requests[5].prompt_embeds_path = "embeds.safetensors";
  requests[5].negative_prompt_embeds_path = "negative.safetensors";
  requests[6].sigmas = {0.75, 0.5};
  requests[6].step_count = 0;
  requests[6].input_video_path = "in.mp4";
  requests[6].outpaint = true;
  requests[6].frames_per_second = 12.5;
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::string resolved = engine.resolve(requests[i]);
    EXPECT_EQ(engine.resolve({.request_json = resolved}), resolved) << i;
  }
}

TEST(RequestJson, AStoredRunIsMadeAgainBitForBit) {
  const auto engine = open_engine();
  auto o = small();
  o.guidance_scales = {2};
  const ltxv::video first = engine.generate(o);
  const ltxv::video again = engine.generate({.request_json = std::string(first.metadata())});
  EXPECT_EQ(again.metadata(), first.metadata());
  const auto tensors = first.tensors(), same = again.tensors();
  const auto a = tensors["frames"], b = same["frames"];
  EXPECT_EQ(a.as<float>().size(), size_t{3 * 9 * 32 * 64});
  EXPECT_TRUE(std::ranges::equal(a.bytes, b.bytes));
}

TEST(RequestJson, WhatFieldsSayWins) {
  const auto engine = open_engine();
  const std::string object = R"({"prompt": "of the file", "width": 96, "height": 96, "num_frames": 17, "num_inference_steps": 5, "seed": 9,
                                 "guidance_scale": [2, 3], "guidance_timesteps": [0.9, 0.1], "conditions": [{"path": "a.png"}],
                                 "stochastic": true, "threads": 64, "model": "another"})";
  const auto all = json::parse(engine.resolve({.request_json = object}));
  EXPECT_EQ(all["prompt"], "of the file");
  EXPECT_EQ(all["width"], 96);
  EXPECT_EQ(all["num_frames"], 17);
  EXPECT_EQ(all["num_inference_steps"], 5);
  EXPECT_EQ(all["seed"], 9);
  EXPECT_EQ(all["guidance_scale"], json::array({2, 3}));
  EXPECT_EQ(all["conditions"], json::parse(R"([{"path": "a.png", "frame": 0, "strength": 1.0}])"));
  EXPECT_EQ(all["stochastic"], true);
  ltxv::generate_options o{.prompt = "own", .width_px = 64, .frame_count = 9, .sigmas = {0.75, 0.5}, .guidance_scale = 4.0, .seed = 0};
  o.stochastic = false;
  o.conditions = {{.path = "b.png", .frame_index = 8, .strength = 0.5}};
  o.request_json = object;
  const auto own = json::parse(engine.resolve(o));
  EXPECT_EQ(own["prompt"], "own");
  EXPECT_EQ(own["width"], 64);
  EXPECT_EQ(own["height"], 96);
  EXPECT_EQ(own["num_frames"], 9);
  EXPECT_EQ(own["sigmas"], json::array({0.75, 0.5}));
  EXPECT_EQ(own["guidance_scale"], 4);
  EXPECT_EQ(own["seed"], 0);
  EXPECT_EQ(own.value("stochastic", false), false);
  EXPECT_EQ(own["conditions"], json::parse(R"([{"path": "b.png", "frame": 8, "strength": 0.5}])"));
}

TEST(RequestJson, MistakesAreNamed) {
  const auto engine = open_engine();
  const auto says = [&](const std::string& object, const std::string& part) {
    ltxv::generate_options o = small();
    o.request_json = object;
    const std::string message = refusal(engine, o);
    EXPECT_NE(message.find(part), std::string::npos) << object << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  };
  says(R"({"prompt": "x")", "byte");
  says("[1]", "object");
  says(R"({"widht": 64})", "\"widht\" is not a key");
  says(R"({"width": "64"})", "\"width\" must be a whole number, found \"64\"");
  says(R"({"width": 64.5})", "whole number");
  says(R"({"seed": -1})", "\"seed\"");
  says(R"({"guidance_scale": [1, "2"]})", "\"guidance_scale\" must be a number");
  says(R"({"outpaint": 1})", "true or false");
  says(R"({"image_prep": "pil"})", "one of plain official diffusers");
  says(R"({"conditions": {"path": "a.png"}})", "a list of objects");
  says(R"({"conditions": [{"path": "a.png", "frame_index": 3}]})", "path frame strength");
  says(R"({"loras": [{"path": "a", "scale": 3}]})", "path strength");
  says(R"({"skip_blocks": [1, 2]})", "a list of lists");
  says(R"({"prompt": "a\u0000b"})", "zero byte");
  says(R"({"save_latents": "/tmp/x"})", "not a key");
}

}  // namespace
}  // namespace ltxv::test
