// Runs with spatio-temporal guidance, guidance lists, fresh noise and an input video, against ltx_video and diffusers.
#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

constexpr double kTolerance = 1e-4;

class EngineGuidance : public ::testing::Test {
 protected:
  Request official_request(const std::string& job) {
    auto request = test::small_request(17, 0);
    request.decode_noise_scale = 0.0;
    std::map<std::string, at::Tensor> draws = {{"initial", golden_["in_initial"]}};
    for (const auto& name : golden_.below(job + "in_stochastic_"))
      draws["stochastic_" + name] = golden_[job + "in_stochastic_" + name];
    save_tensors(request.noise_path = folder_ / "noise.safetensors", draws);
    return request;
  }
  test::Golden golden_{"official_loop"};
  test::TempFolder folder_;
  std::shared_ptr<Engine> engine_ = test::open_tiny();
};

TEST_F(EngineGuidance, BothGuidancesEqualTheOfficialPipeline) {
  auto request = official_request("");
  request.step_count = 4;
  request.guidance_scale = 3, request.guidance_rescale = 0.7;
  request.stg_scales = {1}, request.skip_blocks = {{1}};
  EXPECT_MATCHES(engine_->generate(request).latents, golden_["latents"], kTolerance);
}

TEST_F(EngineGuidance, ListsEqualTheOfficialPipeline) {
  auto request = official_request("lists/");
  request.step_count = 8, request.skip_last_steps = 2;
  // The first bin has guidance 3 without spatio-temporal guidance and rescaling 1: off, in the official meaning.
  request.guidance_timesteps = {1.0, 0.99, 0.98, 0.9};
  request.guidance_scales = {3, 6, 8, 1};
  request.stg_scales = {0, 4, 4, 1};
  request.guidance_rescales = {1, 0.5, 1, 1};
  request.skip_blocks = {{}, {0, 2}, {1}, {2}};
  request.cfg_star = true;
  EXPECT_MATCHES(engine_->generate(request).latents, golden_["lists/latents"], kTolerance);
}

TEST_F(EngineGuidance, FreshNoiseAfterEveryStepEqualsTheOfficialPipeline) {
  auto request = official_request("stochastic/");
  request.sigmas = {1.0, 0.9937, 0.725, 0.4219};
  request.guidance_scale = 1;
  request.stochastic = true;
  EXPECT_MATCHES(engine_->generate(request).latents, golden_["stochastic/latents"], kTolerance);
}

TEST_F(EngineGuidance, AnInputVideoEqualsDiffusers) {
  const test::Golden pipelines("pipelines");
  auto request = test::small_request(17, 6);
  request.decode_noise_scale = 0.0;
  test::GoldenRun run(pipelines, "v2v", request);
  save_tensors(run.request.input_video_path = run.folder / "video.safetensors",
               {{"latents", pipelines["v2v/in_latents"]}});
  run.request.strength = 0.5;
  EXPECT_MATCHES(engine_->generate(run.request).latents, pipelines["v2v/latents"], kTolerance);
}

TEST_F(EngineGuidance, FramesAsInputVideoAreEncodedFirst) {
  const test::Golden pipelines("pipelines");
  const auto frames = test::full_frames(pipelines["clip_middle/in_frames_0"]);  // 17 frames
  auto request = test::small_request(17, 4);
  request.strength = 0.5;
  save_tensors(request.input_video_path = folder_ / "frames.safetensors", {{"frames", frames}});
  const auto from_frames = engine_->generate(request).latents;
  save_tensors(request.input_video_path = folder_ / "latents.safetensors", {{"latents", engine_->encode(frames)}});
  EXPECT_MATCHES(from_frames, engine_->generate(request).latents, 1e-6);
}

TEST_F(EngineGuidance, InputVideosThatDoNotFitAreNamed) {
  auto request = test::small_request(17, 4);
  request.strength = 0.5;
  save_tensors(request.input_video_path = folder_ / "short.safetensors", {{"frames", at::zeros({1, 3, 9, 64, 96})}});
  test::expect_error(ErrorCode::invalid_argument, "short.safetensors: 9 usable frames, this run needs 17",
                     [&] { engine_->generate(request); });
  save_tensors(request.input_video_path = folder_ / "shape.safetensors", {{"latents", at::zeros({1, 8, 3, 2, 2})}});
  test::expect_error(ErrorCode::invalid_argument, "shape.safetensors: latents are [1, 8, 3, 2, 2]",
                     [&] { engine_->generate(request); });
}

// The tiny model's weights in one file under original names, with the description that such files carry.
std::string single_file(const test::TempFolder& folder, const nlohmann::json& config) {
  const ModelSpec spec = load_model_spec({.model = test::golden_path("tiny_model")});
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] :
       test::tensors_of(test::golden_path("tiny_model/transformer/diffusion_pytorch_model.safetensors")))
    tensors["model.diffusion_model." + spec.transformer_files.names.apply(name)] = tensor;
  for (const auto& [name, tensor] :
       test::tensors_of(test::golden_path("tiny_model/vae/diffusion_pytorch_model.safetensors")))
    for (const auto& names : {spec.vae_encoder_names, spec.vae_decoder_names})
      if (const auto canonical = names.apply(name); !canonical.empty()) tensors["vae." + canonical] = tensor;
  tensors["vae.per_channel_statistics.channel"] =
      at::arange(8, at::kFloat);  // released files carry it; nothing reads it
  const auto path = folder / "tiny.safetensors";
  save_tensors(path, tensors,
               config.is_null() ? std::map<std::string, std::string>{}
                                : std::map<std::string, std::string>{{"config", config.dump()}});
  return path;
}

nlohmann::json original_config() {
  return nlohmann::json::parse(R"({
    "transformer": {"_class_name": "Transformer3DModel", "activation_fn": "gelu-approximate", "attention_bias": true,
      "attention_head_dim": 10, "attention_type": "default", "caption_channels": 24, "cross_attention_dim": 20,
      "double_self_attention": false, "dropout": 0.0, "in_channels": 8, "norm_elementwise_affine": false, "norm_eps": 1e-6,
      "num_attention_heads": 2, "num_embeds_ada_norm": 1000, "num_layers": 3, "num_vector_embeds": null,
      "only_cross_attention": false, "out_channels": 8, "upcast_attention": false, "use_linear_projection": false,
      "qk_norm": "rms_norm", "standardization_norm": "rms_norm", "positional_embedding_type": "rope",
      "positional_embedding_theta": 10000.0, "positional_embedding_max_pos": [20, 2048, 2048], "timestep_scale_multiplier": 1000,
      "causal_temporal_positioning": true},
    "vae": {"_class_name": "CausalVideoAutoencoder", "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 8,
      "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform", "use_quant_conv": false, "causal_decoder": false,
      "timestep_conditioning": true, "encoder_base_channels": 4, "decoder_base_channels": 4,
      "encoder_blocks": [["res_x", {"num_layers": 1}], ["compress_space_res", {"multiplier": 2}], ["res_x", {"num_layers": 1}],
        ["compress_time_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 1}],
        ["res_x", {"num_layers": 1}], ["compress_all_res", {"multiplier": 1}], ["res_x", {"num_layers": 1}]],
      "decoder_blocks": [["res_x", {"num_layers": 1}], ["compress_all", {"multiplier": 2, "residual": true}],
        ["res_x", {"num_layers": 1}], ["compress_all", {"multiplier": 1, "residual": true}], ["res_x", {"num_layers": 2}],
        ["compress_all", {"multiplier": 1, "residual": true}], ["res_x", {"num_layers": 1}]]},
    "scheduler": {"_class_name": "RectifiedFlowScheduler", "num_train_timesteps": 1000, "shifting": null, "base_resolution": null,
      "sampler": "LinearQuadratic"}})");
}

EngineOptions single_options(const std::string& path) {
  return {.model = path,
          .text_encoder = test::golden_path("tiny_model/text_encoder"),
          .tokenizer = test::golden_path("tiny_model/tokenizer"),
          .dtype = "fp32",
          .thread_count = 2};
}

TEST_F(EngineGuidance, ASingleFileRunsAsTheFolder) {
  const test::Golden pipelines("pipelines");
  auto request = test::small_request(17, 4);
  request.guidance_scale = 3;
  request.decode_timestep = 0.05, request.decode_noise_scale = 0.025;
  test::GoldenRun run(pipelines, "t2v", request);
  const auto result = Engine::open(single_options(single_file(folder_, original_config())))->generate(run.request);
  EXPECT_MATCHES(result.latents, pipelines["t2v/latents"], kTolerance);
  EXPECT_MATCHES(result.frames.slice(3, 0, 64, 5).slice(4, 0, 96, 7), pipelines["t2v/pixels"], kTolerance);
}

TEST_F(EngineGuidance, SingleFilesThatCannotBeReadSayWhy) {
  const auto open = [&](const nlohmann::json& config) { Engine::open(single_options(single_file(folder_, config))); };
  test::expect_error(ErrorCode::unsupported, "has no description of its own", [&] { open(nullptr); });
  test::expect_error(ErrorCode::bad_weights, "not a JSON object", [&] { open(nlohmann::json::array()); });
  // A description that leaves a part out: the file's tensors are compared with the releases, and these are none of theirs.
  for (const std::string part : {"transformer", "vae"}) {
    auto config = original_config();
    config.erase(part);
    test::expect_error(ErrorCode::unsupported, "has no description of its own", [&] { open(config); });
  }
  auto config = original_config();
  config["transformer"]["qk_norm"] = "layer_norm";
  test::expect_error(ErrorCode::unsupported, "qk_norm", [&] { open(config); });
  config = original_config();
  config["scheduler"]["sampler"] = "Constant";
  test::expect_error(ErrorCode::unsupported, "Constant", [&] { open(config); });
  config = original_config();
  config["allowed_inference_steps"] = {0.5, 1.0};
  EXPECT_THROW(open(config), Error);
}

TEST_F(EngineGuidance, WithoutATextEncoderOnlyPromptsFail) {
  auto options = single_options(single_file(folder_, original_config()));
  options.text_encoder = options.tokenizer = "";
  const auto engine = Engine::open(options);
  EXPECT_NO_THROW(engine->decode(at::zeros({1, 8, 1, 1, 1}), {}));
  test::expect_error(ErrorCode::invalid_argument, "without a text encoder",
                     [&] { engine->generate(test::small_request(9, 1)); });
}

}  // namespace
}  // namespace ltxv
