// Model files in another form: the same tensors, the same description, the same frames; or one line and nothing written.
#include "pipeline/convert.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "pipeline/config_json.h"
#include "pipeline/doctor.h"
#include "pipeline/engine.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/made_upsampler.h"
#include "support/model_copy.h"
#include "vae/vae_config_json.h"
#include "weights/retype.h"
#include "weights/tensor_io.h"

namespace ltxv::test {
namespace {

using nlohmann::json;

const std::string kTiny = golden_path("tiny_model");

json convert(std::vector<std::string> paths, const std::string& output, const std::string& dtype = "") {
  return json::parse(convert_files({.paths = std::move(paths), .output = output, .dtype = dtype}));
}

std::map<std::string, at::Tensor> tensors_of(const std::string& path) {
  const auto source = std::filesystem::is_directory(path) ? open_component_folder(path) : open_tensors(path);
  std::map<std::string, at::Tensor> tensors;
  for (const TensorEntry& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  return tensors;
}

void expect_same_tensors(const std::string& path, const std::string& expected_path) {
  const auto found = tensors_of(path), expected = tensors_of(expected_path);
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(found.count(name)) << name;
    EXPECT_EQ(found.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(found.at(name), tensor)) << name;
  }
}

at::Tensor frames_of(const EngineOptions& options) {
  Request request;
  request.prompt = "a red circle";
  request.width = 64, request.height = 32, request.frame_count = 9, request.step_count = 2, request.seed = 3;
  return Engine::open(options)->generate(request).frames;
}

TEST(Convert, ThereAndBackKeepsTensorsDescriptionAndFrames) {
  const TempFolder folder;
  const std::string file = folder / "tiny.safetensors", again = folder / "again";
  const auto report = convert({kTiny}, file);
  EXPECT_EQ(report["form"], "original checkpoint in one file");
  EXPECT_EQ(report["left_out"].size(), 2u);  // text encoder and tokenizer
  convert({file, kTiny + "/text_encoder", kTiny + "/tokenizer"}, again);
  // The names and values that diffusers itself wrote, twice renamed.
  for (const char* part : {"transformer", "vae", "text_encoder"}) expect_same_tensors(again + "/" + part, kTiny + "/" + part);
  EXPECT_EQ(read_file(again + "/tokenizer/spiece.model"), read_file(kTiny + "/tokenizer/spiece.model"));
  for (const std::string part : {"transformer", "vae"}) {
    const auto before = json::parse(read_file(kTiny + "/" + part + "/config.json")), after = json::parse(read_file(again + "/" + part + "/config.json"));
    for (const auto& [key, value] : before.items()) {
      if (key[0] == '_') continue;
      EXPECT_EQ(after.value(key, json()), value) << part << ": " << key;
    }
  }
  const ModelSpec first = load_model_spec({.model = kTiny}), last = load_model_spec({.model = again});
  EXPECT_EQ(last.release, first.release);
  EXPECT_EQ(last.name, first.name);
  EXPECT_EQ(last.vae, first.vae);
  EXPECT_EQ(last.transformer.causal_positions, first.transformer.causal_positions);
  EXPECT_EQ(last.schedule.kind, first.schedule.kind);
  EXPECT_TRUE(check_files({.paths = {again}}).find("\"good\":true") != std::string::npos);

  // The tokenizer is found beside an encoder out of a folder of its own.
  std::filesystem::create_directory(folder / "enc");
  convert({kTiny + "/text_encoder"}, folder / "enc/t5.safetensors");
  folder.write("enc/spiece.model", read_file(kTiny + "/tokenizer/spiece.model"));
  EXPECT_EQ(load_model_spec({.model = file, .text_encoder = folder / "enc/t5.safetensors"}).tokenizer_path, folder / "enc/spiece.model");

  const auto frames = frames_of({.model = kTiny, .dtype = "fp32", .thread_count = 1});
  EXPECT_TRUE(at::equal(frames_of({.model = again, .dtype = "fp32", .thread_count = 1}), frames));
  EXPECT_TRUE(at::equal(frames_of({.model = file, .text_encoder = kTiny + "/text_encoder", .tokenizer = kTiny + "/tokenizer", .dtype = "fp32",
                                   .thread_count = 1}),
                        frames));
}

TEST(Convert, GgufHoldsTheTransformerAndTheFramesStay) {
  const TempFolder folder;
  const auto report = convert({kTiny}, folder / "tiny.gguf");
  EXPECT_EQ(report["left_out"].size(), 3u);
  const auto source = open_tensors(folder / "tiny.gguf");
  EXPECT_EQ(source->metadata().at("general.architecture"), "ltxv");
  EXPECT_NE(source->find("patchify_proj.weight"), nullptr);
  EXPECT_TRUE(at::equal(frames_of({.model = kTiny, .transformer = folder / "tiny.gguf", .dtype = "fp32", .thread_count = 1}),
                        frames_of({.model = kTiny, .dtype = "fp32", .thread_count = 1})));
  convert({kTiny + "/text_encoder"}, folder / "t5.gguf");
  EXPECT_NE(open_tensors(folder / "t5.gguf")->find("enc.blk.0.attn_q.weight"), nullptr);
  convert({folder / "t5.gguf"}, folder / "t5");
  expect_same_tensors(folder / "t5", kTiny + "/text_encoder");
}

TEST(Convert, EveryKindOfVaeIsDescribedInBothForms) {
  for (const char* name : {"folded", "noisy", "strided", "uneven"}) {
    const auto golden = json::parse(read_file(golden_path(std::string("vae/") + name + ".json")));
    const auto config = vae_config_from_diffusers(golden.at("diffusers"), name);
    EXPECT_EQ(vae_config_from_diffusers(vae_to_diffusers(config.config), name).config, config.config) << name;
    const KeyMap spelling = vae_diffusers_spelling(config.config);
    const auto source = open_tensors(golden_path(std::string("vae/") + name + ".safetensors"));
    for (const TensorEntry& entry : source->entries()) {
      if (!entry.name.starts_with("encoder.") && !entry.name.starts_with("decoder.")) continue;
      EXPECT_EQ(spelling.apply(config.names.apply(entry.name)), entry.name);
    }
    if (golden.contains("original")) {  // as the official code writes it
      EXPECT_EQ(vae_config_from_original(vae_to_original(config.config), name), vae_config_from_original(golden.at("original"), name)) << name;
    } else {
      expect_error(ErrorCode::unsupported, "cannot be described in an original checkpoint's form", [&] { vae_to_original(config.config); });
    }
  }
}

TEST(Convert, NarrowsAndWidensAsAsked) {
  const TempFolder folder;
  const auto wide = tensors_of(kTiny + "/transformer");
  convert({kTiny + "/transformer"}, folder / "bf16.safetensors", "bf16");
  const auto bf16 = tensors_of(folder / "bf16.safetensors");
  const std::string matrix = "transformer_blocks.0.attn1.to_q.weight", table = "transformer_blocks.0.scale_shift_table";
  EXPECT_TRUE(at::equal(bf16.at("model.diffusion_model." + matrix), wide.at(matrix).to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(bf16.at("model.diffusion_model." + table), wide.at(table)));  // read as f32 in any case

  convert({kTiny + "/transformer"}, folder / "fp8", "fp8_e4m3");
  const auto fp8 = tensors_of(folder / "fp8");
  ASSERT_TRUE(fp8.count("scaled_fp8"));
  const auto scale = fp8.at("transformer_blocks.0.attn1.to_q.scale_weight").item<float>();
  EXPECT_FLOAT_EQ(scale, wide.at(matrix).abs().max().item<float>() / 448);
  // Three bits behind the first: half a step is 1/16 of a value; below 2^-6 steps are 2^-9.
  const auto error = (fp8.at(matrix).to(at::kFloat) * scale - wide.at(matrix)).abs();
  EXPECT_TRUE((error <= at::clamp_min(wide.at(matrix).abs() / 16, scale * 0x1p-10) * 1.001).all().item<bool>());
  EXPECT_TRUE(check_files({.paths = {folder / "fp8"}}).find("\"good\":true") != std::string::npos);
  // Scaled fp8 to bf16: what torch makes of code times scale.
  convert({folder / "fp8"}, folder / "back", "bf16");
  EXPECT_TRUE(at::equal(tensors_of(folder / "back").at(matrix), (fp8.at(matrix).to(at::kFloat) * scale).to(at::kBFloat16)));
}

TEST(Convert, Q8IsTheFormatsArithmetic) {
  // Largest 127: the scale is 1, so codes are the values, rounded half away from zero.
  at::Tensor row = at::zeros({1, 32});
  row[0][0] = -127, row[0][1] = 63.4, row[0][2] = 0.5, row[0][3] = -0.5, row[0][4] = 1.49;
  const TempFolder folder;
  save_tensors(folder / "t.safetensors", {{"t", row}});
  const auto source = open_tensors(folder / "t.safetensors");
  std::string bytes;
  write_as(source->entries().front(), {}, StoredType::q8_0, [&](const void* data, uint64_t count) { bytes.append(static_cast<const char*>(data), count); });
  ASSERT_EQ(bytes.size(), 34u);
  EXPECT_EQ(bytes.substr(0, 7), std::string("\x00\x3c\x81\x3f\x01\xff\x01", 7));  // f16 1.0 is 0x3c00
}

// What a LoRA of the given file makes of the tiny model's weights: the arithmetic of the file, whatever its names.
at::Tensor changed_latents(const std::string& lora) {
  Request request;
  request.prompt = "a red circle";
  request.width = 64, request.height = 32, request.frame_count = 9, request.step_count = 2, request.seed = 3;
  if (!lora.empty()) request.loras = {{lora, 0.7}};
  return Engine::open({.model = kTiny, .dtype = "fp32", .thread_count = 1})->generate(request).latents;
}

TEST(Convert, LorasChangeTheirNamesAndNothingElse) {
  const TempFolder folder;
  std::map<std::string, at::Tensor> kohya;
  const auto add = [&](const std::string& path, int64_t in, int64_t out, double alpha) {
    kohya["lora_unet_" + path + ".lora_down.weight"] = made(path + "d", {2, in}, 0.5f);
    kohya["lora_unet_" + path + ".lora_up.weight"] = made(path + "u", {out, 2}, 0.5f);
    kohya["lora_unet_" + path + ".alpha"] = at::full({}, alpha);
  };
  const auto shape_of = [&](const std::string& name) { return open_component_folder(kTiny + "/transformer")->find(name + ".weight")->shape; };
  const auto add_layer = [&](const std::string& flat, const std::string& diffusers, double alpha) {
    const auto shape = shape_of(diffusers);
    add(flat, shape[1], shape[0], alpha);
  };
  add_layer("transformer_blocks_1_attn1_to_out_0", "transformer_blocks.1.attn1.to_out.0", 1);
  add_layer("transformer_blocks_2_ff_net_0_proj", "transformer_blocks.2.ff.net.0.proj", 2);
  add_layer("patchify_proj", "proj_in", 4);
  kohya["lora_te_text_model.lora_down.weight"] = at::ones({2, 3});
  save_tensors(folder / "kohya.safetensors", kohya, {{"ss_network_module", "networks.lora"}, {"reference_downscale_factor", "2"}});

  const auto report = json::parse(convert_files({.paths = {folder / "kohya.safetensors"}, .output = folder / "diffusers.safetensors", .names = "peft"}));
  EXPECT_EQ(report["form"], "LoRA");
  EXPECT_EQ(report["left_out"].size(), 1u);
  const auto renamed = tensors_of(folder / "diffusers.safetensors");
  EXPECT_EQ(renamed.size(), 6u);
  const std::string block = "transformer_blocks_1_attn1_to_out_0";
  EXPECT_TRUE(at::equal(renamed.at("transformer.transformer_blocks.1.attn1.to_out.0.lora_A.weight"), kohya.at("lora_unet_" + block + ".lora_down.weight")));
  // alpha 1 of rank 2: a half
  EXPECT_TRUE(at::equal(renamed.at("transformer.transformer_blocks.1.attn1.to_out.0.lora_B.weight"), kohya.at("lora_unet_" + block + ".lora_up.weight") / 2));
  EXPECT_TRUE(renamed.count("transformer.proj_in.lora_A.weight"));
  EXPECT_EQ(open_tensors(folder / "diffusers.safetensors")->metadata().at("reference_downscale_factor"), "2");

  convert_files({.paths = {folder / "kohya.safetensors"}, .output = folder / "comfyui.safetensors", .names = "comfyui"});
  const auto comfyui = tensors_of(folder / "comfyui.safetensors");
  EXPECT_EQ(comfyui.at("diffusion_model.patchify_proj.alpha").item<float>(), 4);
  EXPECT_EQ(comfyui.count("diffusion_model.transformer_blocks.2.ff.net.0.proj.alpha"), 0u);  // the rank itself
  convert_files({.paths = {folder / "comfyui.safetensors"}, .output = folder / "again.safetensors", .names = "kohya"});
  const auto again = tensors_of(folder / "again.safetensors");
  for (const auto& [name, tensor] : kohya) {
    if (!name.starts_with("lora_te")) EXPECT_TRUE(at::equal(again.at(name), tensor.to(at::kFloat))) << name;
  }
  convert_files({.paths = {folder / "kohya.safetensors"}, .output = folder / "half.safetensors", .dtype = "bf16"});
  EXPECT_TRUE(at::equal(tensors_of(folder / "half.safetensors").at("lora_unet_" + block + ".lora_up.weight"),
                        kohya.at("lora_unet_" + block + ".lora_up.weight").to(at::kBFloat16)));

  const auto expected = changed_latents(folder / "kohya.safetensors");
  EXPECT_GT(error_over_deviation(expected, changed_latents("")), 1e-3);
  for (const char* file : {"diffusers.safetensors", "comfyui.safetensors", "again.safetensors"})
    EXPECT_LT(error_over_deviation(changed_latents(folder / file), expected), 1e-5) << file;
}

TEST(Convert, UpsamplersInBothForms) {
  const TempFolder folder;
  const UpsamplerConfig config{.channels = 8, .width = 32, .blocks_a_stage = 2};
  const auto file = write_upsampler_file(folder, "up.safetensors", config);
  EXPECT_EQ(convert({file}, folder / "up")["form"], "latent upsampler, diffusers' layout");
  EXPECT_EQ(json::parse(read_file(folder / "up/config.json")), json::parse(upsampler_json(config, "LTXLatentUpsamplerModel")));
  expect_same_tensors(folder / "up", file);
  convert({folder / "up"}, folder / "again.safetensors");
  EXPECT_EQ(json::parse(open_tensors(folder / "again.safetensors")->metadata().at("config")), json::parse(upsampler_json(config, "LatentUpsampler")));
  expect_same_tensors(folder / "again.safetensors", file);
  convert({file}, folder / "half.safetensors", "bf16");
  EXPECT_TRUE(at::equal(tensors_of(folder / "half.safetensors").at("final_conv.weight"), tensors_of(file).at("final_conv.weight").to(at::kBFloat16)));
}

TEST(Convert, LorasAndUpsamplersAreRefusedInOneLine) {
  const TempFolder folder;
  const auto up = write_upsampler_file(folder, "up.safetensors", {.channels = 8, .width = 32, .blocks_a_stage = 2});
  const auto lora = [&](const std::string& name, const std::map<std::string, at::Tensor>& tensors) {
    save_tensors(folder / name, tensors);
    return folder / name;
  };
  const std::string to_q = "transformer.transformer_blocks.0.attn1.to_q";
  const auto good = lora("good.safetensors", {{to_q + ".lora_A.weight", at::ones({2, 4})}, {to_q + ".lora_B.weight", at::ones({4, 2})}});
  const auto other = lora("other.safetensors", {{"transformer.single_blocks.0.linear.lora_A.weight", at::ones({2, 4})},
                                                {"transformer.single_blocks.0.linear.lora_B.weight", at::ones({4, 2})}});
  const auto full = lora("full.safetensors", {{"diffusion_model.proj_out.diff", at::ones({4, 4})}});
  const auto refused = [&](ErrorCode code, const std::string& words, const ConvertOptions& options) {
    expect_error(code, words, [&] { convert_files(options); });
    EXPECT_FALSE(std::filesystem::exists(options.output));
  };
  const std::string out = folder / "o.safetensors";
  refused(ErrorCode::invalid_argument, "not one of diffusers (peft), comfyui, kohya", {.paths = {good}, .output = out, .names = "a1111"});
  refused(ErrorCode::invalid_argument, "names kohya: only of LoRA files", {.paths = {up}, .output = out, .names = "kohya"});
  refused(ErrorCode::invalid_argument, "is written as fp32, bf16 or fp16", {.paths = {good}, .output = out, .dtype = "fp8_e4m3"});
  refused(ErrorCode::invalid_argument, "a LoRA is written as .safetensors", {.paths = {good}, .output = folder / "o"});
  refused(ErrorCode::invalid_argument, "is converted by itself", {.paths = {kTiny, good}, .output = out});
  refused(ErrorCode::bad_weights, "match nothing in an LTX-Video transformer: 'transformer.single_blocks.0.linear'",
          {.paths = {other}, .output = out, .names = "kohya"});
  refused(ErrorCode::unsupported, "has no place in the names of diffusers", {.paths = {full}, .output = out, .names = "diffusers"});
}

TEST(Convert, WhatAKilledConversionLeftIsCleanedUp) {
  const TempFolder folder;
  // Another process's, that holds no lock any more; and one that is being written.
  std::filesystem::create_directories(folder / ".out.ltxv-1-0.part/transformer");
  std::ofstream(folder / ".one.safetensors.ltxv-1-0.part") << "x";
  std::filesystem::create_directories(folder / ".out.ltxv-1-1.part");
  const int held = ::open((folder / ".out.ltxv-1-1.part").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(held, LOCK_EX), 0);
  convert({kTiny}, folder / "out");
  convert({kTiny}, folder / "one.safetensors");
  EXPECT_FALSE(std::filesystem::exists(folder / ".out.ltxv-1-0.part"));
  EXPECT_FALSE(std::filesystem::exists(folder / ".one.safetensors.ltxv-1-0.part"));
  EXPECT_TRUE(std::filesystem::exists(folder / ".out.ltxv-1-1.part"));
  ::close(held);
  EXPECT_TRUE(std::filesystem::exists(folder / "out/model_index.json"));
}

TEST(Convert, RefusesInOneLineAndWritesNothing) {
  const TempFolder folder;
  const auto nothing_written = [&](size_t files) { EXPECT_EQ(folder.file_count(), files); };
  expect_error(ErrorCode::invalid_argument, "dtype \"int4\" is not one of", [&] { convert({kTiny}, folder / "o.gguf", "int4"); });
  expect_error(ErrorCode::invalid_argument, "must end with .gguf", [&] { convert({kTiny}, folder / "o.safetensors", "q8_0"); });
  expect_error(ErrorCode::invalid_argument, "GGUF files have no fp8", [&] { convert({kTiny}, folder / "o.gguf", "fp8_e4m3"); });
  expect_error(ErrorCode::invalid_argument, "neither .safetensors, .gguf nor a folder", [&] { convert({kTiny}, folder / "o.ckpt"); });
  expect_error(ErrorCode::invalid_argument, "missing: text encoder, tokenizer",
               [&] { convert({kTiny + "/transformer", kTiny + "/vae"}, folder / "o"); });
  expect_error(ErrorCode::io, "o/p: cannot be written", [&] { convert({kTiny}, folder / "o/p"); });
  expect_error(ErrorCode::io, "cannot be written", [&] { convert({kTiny}, folder / "o/p.safetensors"); });
  expect_error(ErrorCode::bad_weights, "no such file", [&] { convert({folder / "absent"}, folder / "o"); });
  expect_error(ErrorCode::invalid_argument, "give the model's folder",
               [&] { convert({kTiny + "/transformer", kTiny + "/vae", kTiny + "/text_encoder", kTiny + "/tokenizer"}, folder / "o"); });
  nothing_written(0);
  folder.write("full", "");
  std::filesystem::create_directory(folder / "there");
  std::ofstream(folder / "there/file") << "x";
  expect_error(ErrorCode::io, "is already there and not an empty folder", [&] { convert({kTiny}, folder / "there"); });
  nothing_written(2);
  EXPECT_EQ(read_file(folder / "there/file"), "x");
  std::filesystem::remove(folder / "there/file");
  convert({kTiny}, folder / "there");  // an empty folder is filled
  EXPECT_TRUE(std::filesystem::exists(folder / "there/model_index.json"));

  // A value that the new type does not hold stops in the middle of writing.
  const ModelCopy model;
  auto tensors = tensors_of(kTiny + "/transformer");
  tensors["proj_out.weight"][0][0] = 1e6;
  save_tensors(model / "transformer/diffusion_pytorch_model.safetensors", tensors);
  expect_error(ErrorCode::numeric, "'proj_out.weight' holds values too large for F16", [&] { convert({model.path()}, folder / "h", "fp16"); });
  expect_error(ErrorCode::numeric, "too large", [&] { convert({model.path()}, folder / "h.safetensors", "fp16"); });
  nothing_written(2);
  RunHooks hooks;
  hooks.on_progress = [](const Progress& p) { return p.step < 20; };
  expect_error(ErrorCode::cancelled, "cancelled", [&] { convert_files({.paths = {kTiny}, .output = folder / "c"}, hooks); });
  nothing_written(2);
}

}  // namespace
}  // namespace ltxv::test
