// Everything that can be wrong with models and requests ends in one clear line, and a usable engine where there is one.
#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

using test::change_weights;
using test::expect_error;
using test::ModelCopy;
using Tensors = std::map<std::string, at::Tensor>;

std::shared_ptr<Engine> open(const ModelCopy& model) {
  return Engine::open({.model = model.path(), .dtype = "fp32", .thread_count = 2});
}
void run(const ModelCopy& model) { open(model)->generate(test::small_request(9, 1)); }

TEST(EngineError, WrongArchitecturesAreRefusedAtOpen) {
  ModelCopy model;
  change_weights(model, "transformer", [](Tensors& t) { t["audio_proj_in.weight"] = at::zeros({2, 2}); });
  expect_error(ErrorCode::unsupported, "LTX-2", [&] { open(model); });
}

TEST(EngineError, MissingWeightFilesAreNamedAtOpen) {
  {
    ModelCopy model;
    model.remove("text_encoder/model-00002-of-00003.safetensors");
    expect_error(ErrorCode::io, "model-00002-of-00003.safetensors", [&] { open(model); });
  }
  for (const std::string part : {"transformer", "vae"}) {
    ModelCopy model;
    model.remove(part + "/diffusion_pytorch_model.safetensors");
    expect_error(ErrorCode::io, model / part, [&] { open(model); });
  }
}

TEST(EngineError, DamagedWeightFilesAreNamedAtOpen) {
  for (const std::string file :
       {"transformer/diffusion_pytorch_model.safetensors", "text_encoder/model-00001-of-00003.safetensors"}) {
    ModelCopy model;
    const auto bytes = test::read_file(model / file);
    for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, bytes.size() - 1}) {
      model.write(file, bytes.substr(0, size));
      expect_error(ErrorCode::bad_weights, model / file, [&] { open(model); });
    }
  }
}

TEST(EngineError, MissingLeftOverAndMisshapenTensorsAreNamed) {
  struct Damage {
    std::string part, name;
    std::function<void(Tensors&)> change;
  };
  const std::vector<Damage> damages = {
      {"transformer", "transformer_blocks.1.ff.net.0.proj.weight",
       [](Tensors& t) { t.erase("transformer_blocks.1.ff.net.0.proj.weight"); }},
      {"transformer", "extra.weight", [](Tensors& t) { t["extra.weight"] = at::zeros({2}); }},
      {"transformer", "proj_out.weight",
       [](Tensors& t) {
         t["proj_out.weight"] = at::zeros({8, 21});
       }},
      {"text_encoder", "encoder.block.0.layer.0.SelfAttention.k.weight",
       [](Tensors& t) { t.erase("encoder.block.0.layer.0.SelfAttention.k.weight"); }},
      {"vae", "decoder.extra.weight", [](Tensors& t) { t["decoder.extra.weight"] = at::zeros({2}); }},
      {"vae", "decoder", [](Tensors& t) { t.erase("decoder.conv_in.conv.weight"); }}};
  for (const auto& damage : damages) {
    ModelCopy model;
    change_weights(model, damage.part, damage.change);
    expect_error(ErrorCode::bad_weights, damage.name, [&] { run(model); });
  }
}

TEST(EngineError, NanInWeightsIsNamed) {
  const std::map<std::string, std::string> tensors = {{"transformer", "transformer_blocks.0.attn2.to_v.weight"},
                                                      {"text_encoder", "encoder.block.1.layer.0.layer_norm.weight"},
                                                      {"vae", "decoder.conv_out.conv.bias"}};
  for (const auto& [part, name] : tensors) {
    ModelCopy model;
    change_weights(model, part, [&, name = name](Tensors& t) { t.at(name).view({-1})[0] = std::nan(""); });
    expect_error(ErrorCode::numeric, part == "vae" ? "conv_out" : name, [&] { run(model); });
  }
}

TEST(EngineError, LatentsThatOverflowAreReportedWithTheirStep) {
  ModelCopy model;  // finite weights, infinite products
  change_weights(model, "transformer", [](Tensors& t) { t["proj_out.weight"].fill_(3e38); });
  expect_error(ErrorCode::numeric, "step 1 of 1", [&] { run(model); });
}

TEST(EngineError, TokenizerAndTextEncoderMustFit) {
  ModelCopy model;  // 192 pieces and 100 extra ids do not fit 150 rows
  model.set("text_encoder/config.json", "vocab_size", 150);
  change_weights(model, "text_encoder",
                 [](Tensors& t) { t["shared.weight"] = t["shared.weight"].narrow(0, 0, 150).clone(); });
  expect_error(ErrorCode::bad_weights, "vocabulary of 150", [&] { open(model); });
  ModelCopy other;
  other.write("tokenizer/spiece.model", "not a model");
  expect_error(ErrorCode::bad_weights, "spiece.model", [&] { open(other); });
}

TEST(EngineError, AModelThatIsNotThereNamesWhereItWasLookedFor) {
  expect_error(ErrorCode::io, "no-such-model", [] { Engine::open({.model = "no-such-model"}); });
  expect_error(ErrorCode::io, "share/ltxv/models", [] { Engine::open({.model = "no-such-model"}); });
  // One part of a diffusers folder is not a model: its neighbouring config.json says what it is.
  expect_error(ErrorCode::unsupported, "tiny_model/transformer", [] {
    Engine::open({.model = test::golden_path("tiny_model/transformer/diffusion_pytorch_model.safetensors")});
  });
}

TEST(EngineError, OptionsAreCheckedAtOpen) {
  const auto with = [](EngineOptions options) {
    options.model = test::golden_path("tiny_model");
    return Engine::open(options);
  };
  expect_error(ErrorCode::invalid_argument, "dtype \"int4\"", [&] { with({.dtype = "int4"}); });
  expect_error(ErrorCode::unsupported, "fp16", [&] { with({.dtype = "fp16"}); });
  expect_error(ErrorCode::invalid_argument, "device \"gpu\"", [&] { with({.device = "gpu"}); });
  expect_error(ErrorCode::device, "cuda", [&] { with({.device = "cuda"}); });
  expect_error(ErrorCode::invalid_argument, "quantization \"int4\" is not one of none, fp8, int8", [&] { with({.quantization = "int4"}); });
  expect_error(ErrorCode::invalid_argument, "attention \"fp8\" is not one of exact, int8", [&] { with({.attention = "fp8"}); });
  expect_error(ErrorCode::invalid_argument, "threads -1", [&] { with({.thread_count = -1}); });
}

class EngineRequestError : public ::testing::Test {
 protected:
  void expect(ErrorCode code, const std::string& words, const Request& request) {
    expect_error(code, words, [&] { engine_->generate(request); });
  }
  std::string saved(const std::string& name, const Tensors& tensors) {
    save_tensors(folder_ / name, tensors);
    return folder_ / name;
  }
  std::shared_ptr<Engine> engine_ = test::open_tiny();
  test::TempFolder folder_;
  Request request_ = test::small_request(9, 1);
};

TEST_F(EngineRequestError, NoiseFiles) {
  request_.noise_path = folder_ / "absent.safetensors";
  expect(ErrorCode::io, "absent.safetensors", request_);
  request_.noise_path = saved("empty.safetensors", {{"other", at::zeros({1})}});
  expect(ErrorCode::invalid_argument, "noise \"initial\" is missing", request_);
  request_.noise_path = saved("shape.safetensors", {{"initial", at::zeros({1, 8, 2, 3, 2})}});
  expect(ErrorCode::invalid_argument, "[1, 8, 2, 3, 2], expected [1, 8, 2, 2, 3]", request_);
  request_.noise_path = saved("partial.safetensors", {{"initial", at::zeros({1, 8, 2, 2, 3})}});
  expect(ErrorCode::invalid_argument, "noise \"decode\" is missing", request_);
  request_.noise_path = saved("nan.safetensors", {{"initial", at::full({1, 8, 2, 2, 3}, std::nan(""))}});
  expect(ErrorCode::numeric, "initial", request_);
}

TEST_F(EngineRequestError, EmbeddingFiles) {
  const auto ones = at::ones({1, 4}, at::kLong);
  request_.prompt_embeds_path =
      saved("width.safetensors", {{"prompt_embeds", at::zeros({1, 4, 23})}, {"prompt_attention_mask", ones}});
  expect(ErrorCode::invalid_argument, "24", request_);
  request_.prompt_embeds_path = saved("mask.safetensors", {{"prompt_embeds", at::zeros({1, 4, 24})}});
  expect(ErrorCode::bad_weights, "prompt_attention_mask", request_);
  request_.prompt_embeds_path =
      saved("lengths.safetensors", {{"prompt_embeds", at::zeros({1, 5, 24})}, {"prompt_attention_mask", ones}});
  expect(ErrorCode::bad_weights, "do not go together", request_);
  request_.prompt_embeds_path =
      saved("none.safetensors", {{"prompt_embeds", at::zeros({1, 4, 24})}, {"prompt_attention_mask", ones * 0}});
  expect(ErrorCode::invalid_argument, "mask", request_);
}

TEST_F(EngineRequestError, Conditions) {
  request_.conditions = {{folder_ / "absent.png", 0, 1}};
  expect(ErrorCode::io, "absent.png", request_);
  request_.conditions = {{saved("name.safetensors", {{"pixels", at::zeros({1, 3, 1, 64, 96})}}), 0, 1}};
  expect(ErrorCode::bad_weights, "\"frames\" is missing", request_);
  request_.conditions = {{saved("channels.safetensors", {{"frames", at::zeros({1, 4, 1, 64, 96})}}), 0, 1}};
  expect(ErrorCode::bad_weights, "[1,3,T,H,W]", request_);
  request_.conditions = {{saved("nan.safetensors", {{"frames", at::full({1, 3, 1, 64, 96}, std::nan(""))}}), 0, 1}};
  expect(ErrorCode::numeric, "frames", request_);
  request_.frame_count = 33;
  request_.conditions = {{saved("clip.safetensors", {{"frames", at::zeros({1, 3, 17, 64, 96})}}), 9, 1}};
  expect(ErrorCode::invalid_argument, "multiple of 8", request_);
}

TEST_F(EngineRequestError, OutputsAreCheckedBeforeTheWork) {
  int reports = 0;
  const RunHooks hooks{.on_progress = [&](const Progress&) { return ++reports, true; }};
  request_.save_latents_path = "/nonexistent-folder/latents.safetensors";
  expect_error(ErrorCode::io, "/nonexistent-folder", [&] { engine_->generate(request_, hooks); });
  request_.save_latents_path = "";
  request_.save_noise_path = "/nonexistent-folder/noise.safetensors";
  expect_error(ErrorCode::io, "/nonexistent-folder", [&] { engine_->generate(request_, hooks); });
  EXPECT_EQ(reports, 0) << "work began before the output path was checked";
}

TEST_F(EngineRequestError, EncodeAndDecodeCheckTheirTensors) {
  expect_error(ErrorCode::invalid_argument, "[1,3,T,H,W]", [&] { engine_->encode(at::zeros({1, 4, 1, 64, 96})); });
  expect_error(ErrorCode::invalid_argument, "frame count 8", [&] { engine_->encode(at::zeros({1, 3, 8, 64, 96})); });
  expect_error(ErrorCode::invalid_argument, "width 95", [&] { engine_->encode(at::zeros({1, 3, 1, 64, 95})); });
  expect_error(ErrorCode::invalid_argument, "latents [1,8,T,H,W]", [&] {
    engine_->decode(at::zeros({1, 16, 1, 2, 3}), {});
  });
  expect_error(ErrorCode::invalid_argument, "decode timestep 2", [&] {
    engine_->decode(at::zeros({1, 8, 1, 2, 3}), {.timestep = 2});
  });
  expect_error(ErrorCode::numeric, "NaN", [&] {
    engine_->decode(at::full({1, 8, 1, 2, 3}, std::nan("")), {.noise_scale = 0});
  });
}

TEST_F(EngineRequestError, AfterAllTheseTheEngineStillRuns) {
  const auto before = engine_->generate(request_).latents;
  for (int i = 0; i < 3; ++i) {
    auto bad = request_;
    bad.noise_path = folder_ / "absent.safetensors";
    EXPECT_THROW(engine_->generate(bad), IoError);
    bad = request_;
    bad.width = -1;
    EXPECT_THROW(engine_->generate(bad), InvalidArgument);
  }
  EXPECT_TRUE(at::equal(engine_->generate(request_).latents, before));
}

}  // namespace
}  // namespace ltxv
