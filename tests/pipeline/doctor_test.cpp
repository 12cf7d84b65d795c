// Each fault in files gives its own line; sound files give none.
#include "pipeline/doctor.h"
#include "pipeline/engine.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/golden.h"
#include "support/made_upsampler.h"
#include "support/model_copy.h"
#include "weights/tensor_io.h"

namespace ltxv::test {
namespace {

using nlohmann::json;

json check(std::vector<std::string> paths, bool headers_only = false) {
  return json::parse(check_files({.paths = std::move(paths), .headers_only = headers_only}));
}

std::string all(const json& report, const std::string& severity) {
  std::string lines;
  for (const json& finding : report["findings"])
    if (finding["severity"] == severity) lines += finding["message"].get<std::string>() + "\n";
  return lines;
}

void expect_problem(const json& report, const std::string& words) {
  EXPECT_EQ(report["good"], false);
  const auto problems = all(report, "problem");
  EXPECT_NE(problems.find(words), std::string::npos) << "'" << problems << "' lacks '" << words << "'";
  EXPECT_EQ(std::count(problems.begin(), problems.end(), '\n'), 1) << "one fault, one line: " << problems;
}

// A copy of a tensor file with changed tensors; an undefined one is left out.
std::string rewritten(const std::string& path, const std::string& to, const std::map<std::string, at::Tensor>& changed) {
  const auto source = open_tensors(path);
  std::map<std::string, at::Tensor> tensors;
  for (const TensorEntry& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  for (const auto& [name, tensor] : changed) tensors[name] = tensor;
  std::erase_if(tensors, [](const auto& item) { return !item.second.defined(); });
  save_tensors(to, tensors, source->metadata());
  return to;
}

const std::string kWeights = "transformer/diffusion_pytorch_model.safetensors";
const std::string kVaeWeights = "vae/diffusion_pytorch_model.safetensors";

at::Tensor tensor_of(const std::string& path, const std::string& name) {
  const auto source = open_tensors(path);
  return to_tensor(*source->find(name), source).clone();
}

TEST(Doctor, FindsNothingWrongWithASoundModel) {
  const auto report = check({golden_path("tiny_model")});
  EXPECT_EQ(report["good"], true) << report.dump(1);
  EXPECT_TRUE(report["findings"].empty()) << report["findings"].dump(1);
  ASSERT_EQ(report["files"].size(), 5u);  // the folder and its parts
  EXPECT_EQ(report["files"][0]["kind"], "diffusers-layout model");
  EXPECT_EQ(report["together"]["release"], "ltxv-0.9.5+");
  EXPECT_TRUE(report["missing"].empty());
  // The numbers of tiny_model.py.
  const json& transformer = report["files"][1]["transformer"];
  EXPECT_EQ(transformer["width"], 20);
  EXPECT_EQ(transformer["blocks"], 3);
  EXPECT_EQ(transformer["latent_channels"], 8);
  EXPECT_EQ(transformer["caption_width"], 24);
  EXPECT_EQ(report["files"][2]["vae"]["latent_channels"], 8);
  EXPECT_EQ(report["files"][3]["text_encoder"]["vocabulary"], 304);
  EXPECT_EQ(report["files"][4]["kind"], "T5 tokenizer");
}

TEST(Doctor, TakesComponentFoldersWithoutTheirModel) {
  const std::string model = golden_path("tiny_model");
  const auto report = check({model + "/transformer", model + "/vae", model + "/text_encoder", model + "/tokenizer"});
  EXPECT_EQ(report["good"], true) << report["findings"].dump(1);
}

TEST(Doctor, NamesNanInfinityAndWhatFp16DoesNotHold) {
  const ModelCopy model;
  auto weight = tensor_of(model / kWeights, "proj_out.weight");
  weight[0][0] = std::numeric_limits<float>::quiet_NaN();
  rewritten(golden_path("tiny_model/" + kWeights), model / kWeights, {{"proj_out.weight", weight}});
  expect_problem(check({model.path()}), "1 NaN in 1 tensor: 'proj_out.weight'");
  EXPECT_EQ(check({model.path()}, /*headers_only=*/true)["good"], true);

  weight[0][0] = -std::numeric_limits<float>::infinity();
  rewritten(golden_path("tiny_model/" + kWeights), model / kWeights, {{"proj_out.weight", weight}});
  expect_problem(check({model.path()}), "1 infinite values in 1 tensor: 'proj_out.weight'");

  weight[0][0] = 70000;
  rewritten(golden_path("tiny_model/" + kWeights), model / kWeights, {{"proj_out.weight", weight}});
  const auto report = check({model.path()});
  EXPECT_EQ(report["good"], true);
  EXPECT_NE(all(report, "warning").find("values beyond 65504 in 1 tensor: 'proj_out.weight'"), std::string::npos) << report["findings"];
  EXPECT_EQ(report["files"][1]["values"]["largest"], 70000);
  EXPECT_EQ(report["files"][1]["values"]["largest_in"], "proj_out.weight");
  EXPECT_EQ(report["files"][1]["compute"]["fp16"], "overflows in 1 tensor");
  EXPECT_EQ(report["files"][1]["compute"]["bf16"], "good");
}

TEST(Doctor, NamesTensorsThatAreMissingTooManyOrOfAnotherShape) {
  const std::string good = golden_path("tiny_model/" + kWeights);
  const ModelCopy model;
  rewritten(good, model / kWeights, {{"transformer_blocks.1.attn2.to_k.weight", at::Tensor()}});
  expect_problem(check({model.path()}), "tensor 'transformer_blocks.1.attn2.to_k.weight' of shape [20,20] is missing");
  rewritten(good, model / kWeights, {{"extra", at::ones({2})}});
  expect_problem(check({model.path()}), "1 tensor is not used by this model: 'extra' [2]");
  rewritten(good, model / kWeights, {{"proj_out.bias", at::ones({9})}});
  expect_problem(check({model.path()}), "has the shape [9], [8] is needed");
  rewritten(good, model / kWeights, {{"proj_out.weight", at::zeros({8, 20})}});
  EXPECT_NE(all(check({model.path()}), "warning").find("1 tensor with nothing but zeros: 'proj_out.weight'"), std::string::npos);
  rewritten(golden_path("tiny_model/" + kVaeWeights), model / kVaeWeights, {{"decoder.conv_in.conv.bias", at::Tensor()}});
  expect_problem(check({model / "vae"}), "tensor 'decoder.conv_in.conv.bias' of shape");
}

TEST(Doctor, NamesMissingAndBrokenScales) {
  const TempFolder folder;
  const std::string good = golden_path("narrow/t5_scaled.safetensors"), path = folder / "t5.safetensors";
  std::string scale;
  const auto source = open_tensors(good);
  for (const TensorEntry& entry : source->entries())
    if (scale.empty() && (entry.name.ends_with(".scale_weight") || entry.name.ends_with(".weight_scale"))) scale = entry.name;
  ASSERT_FALSE(scale.empty());
  const std::string layer = scale.substr(0, scale.rfind('.'));
  rewritten(good, path, {{scale, at::Tensor()}});
  const auto missing = check({path});
  EXPECT_NE(all(missing, "problem").find("scaled fp8 without the scales of 1 matrices: '" + layer + ".weight'"), std::string::npos)
      << missing["findings"].dump(1);
  rewritten(good, path, {{scale, at::zeros_like(tensor_of(good, scale))}});
  expect_problem(check({path}), "1 scales are not above 0: '" + scale + "'");
}

TEST(Doctor, ComparesLatentSpacesByTheirStatistics) {
  const ModelCopy other;
  const auto with_other = [&] { return check({golden_path("tiny_model"), other / "vae"}); };
  const auto same = with_other();
  EXPECT_EQ(same["good"], true) << same["findings"].dump(1);
  EXPECT_NE(all(same, "note").find("per-channel statistics equal those of"), std::string::npos);

  auto deviation = tensor_of(other / kVaeWeights, "latents_std");
  rewritten(golden_path("tiny_model/" + kVaeWeights), other / kVaeWeights, {{"latents_std", deviation * 3}});
  expect_problem(with_other(), "differ from those of " + golden_path("tiny_model/vae") + " by up to 2");
  // Two VAEs without a transformer are only compared.
  EXPECT_EQ(check({golden_path("tiny_model/vae"), other / "vae"})["good"], true);
}

TEST(Doctor, ChecksLorasAgainstTheTransformer) {
  const TempFolder folder;
  const std::string module = "transformer.transformer_blocks.0.attn1.to_q", good = folder / "good.safetensors",
                    wide = folder / "wide.safetensors", strange = folder / "strange.safetensors", half = folder / "half.safetensors";
  const at::Tensor down = at::ones({2, 20}), up = at::ones({20, 2});
  save_tensors(good, {{module + ".lora_A.weight", down}, {module + ".lora_B.weight", up}});
  save_tensors(wide, {{module + ".lora_A.weight", at::ones({2, 64})}, {module + ".lora_B.weight", at::ones({64, 2})}});
  save_tensors(strange, {{"transformer.nowhere.lora_A.weight", down}, {"transformer.nowhere.lora_B.weight", up}});
  save_tensors(half, {{module + ".lora_A.weight", down}});
  const std::string model = golden_path("tiny_model");
  const auto fits = check({model, good});
  EXPECT_EQ(fits["good"], true) << fits["findings"].dump(1);
  EXPECT_NE(all(fits, "note").find("every key matches: 1 weights"), std::string::npos);
  EXPECT_EQ(fits["files"][5]["lora"]["rank"], 2);
  EXPECT_EQ(fits["files"][5]["lora"]["transformer_width"], 20);
  expect_problem(check({model, wide}), "[2,64] does not fit the model's 'transformer_blocks.0.attn1.to_q.weight' [20,20]");
  expect_problem(check({model, strange}), "1 of 1 LoRA keys match nothing in this model: 'transformer.nowhere'");
  expect_problem(check({half}), "has no up (lora_B) half");
  EXPECT_EQ(check({wide})["good"], true);  // sound by itself
}

TEST(Doctor, NamesPartsOfOtherModels) {
  const TempFolder folder;
  const std::string model = golden_path("tiny_model");
  const UpsamplerConfig narrow{.channels = 8, .width = 32, .blocks_a_stage = 1};
  UpsamplerConfig wide = narrow;
  wide.channels = 16;
  const auto fits = check({model, write_upsampler_file(folder, "narrow.safetensors", narrow)});
  EXPECT_EQ(fits["good"], true) << fits["findings"].dump(1);
  expect_problem(check({model, write_upsampler_file(folder, "wide.safetensors", wide)}),
                 "an upsampler of 16 latent channels does not fit the VAE's 8");
  // Width 32 and 64 pieces: SOURCES.md, narrow/.
  expect_problem(check({model + "/transformer", golden_path("narrow/t5_scaled.safetensors")}),
                 "a text encoder of width 32 does not fit the transformer's caption width 24");
  expect_problem(check({golden_path("narrow/t5.gguf"), model + "/tokenizer"}), "pieces do not fit the text encoder's vocabulary of 64");
}

TEST(Doctor, SaysWhatIsMissing) {
  const auto alone = check({golden_path("narrow/transformer_fp8.safetensors")});
  EXPECT_EQ(alone["good"], true);
  ASSERT_EQ(alone["missing"].size(), 3u) << alone.dump(1);
  EXPECT_EQ(alone["missing"][0]["part"], "VAE");
  EXPECT_EQ(alone["missing"][1]["part"], "text encoder");
  EXPECT_EQ(alone["missing"][2]["part"], "tokenizer");
  const ModelCopy model;
  model.remove("vae");
  const auto report = check({model.path()});
  EXPECT_EQ(report["good"], false);
  EXPECT_NE(all(report, "problem").find("the model's vae is missing"), std::string::npos);
}

TEST(Doctor, SaysWhatAFileIsThatItCannotUse) {
  const TempFolder folder;
  save_tensors(folder / "ltx2.safetensors", {{"audio_patchify_proj.weight", at::ones({2})}});
  save_tensors(folder / "strange.safetensors", {{"a", at::ones({2})}});
  save_tensors(folder / "zero.safetensors", {{"w.lora_A.weight", at::zeros({2, 8})}, {"w.lora_B.weight", at::zeros({8, 2})}});
  expect_problem(check({folder / "ltx2.safetensors"}), "belongs to LTX-2");
  expect_problem(check({folder / "strange.safetensors"}), "no part of an LTX-Video model");
  expect_problem(check({folder / "zero.safetensors"}), "every matrix is 0");
  expect_problem(check({folder / "absent.safetensors"}), "no such file");
  expect_problem(check({folder.path()}), "holds neither");
  expect_problem(check({folder.write("x.safetensors", "PK\x03\x04 and more")}), "Python pickle");
  expect_problem(check({folder.write("y.safetensors", "<html>not found</html>")}), "HTML");
  expect_problem(check({folder.write("z.model", "nonsense")}), "");
  expect_error(ErrorCode::invalid_argument, "no file to look at", [] { check_files({}); });
  expect_error(ErrorCode::invalid_argument, "release \"0.9.9\" is not one of", [] { check_files({.paths = {"x"}, .release = "0.9.9"}); });
}

TEST(Doctor, AVaeInDiffusersNamesNeedsItsDescription) {
  const TempFolder folder;
  const std::string file = folder.write("vae.safetensors", read_file(golden_path("tiny_model/vae/diffusion_pytorch_model.safetensors")));
  const std::string words = "this VAE has the names of diffusers, which only the config.json of its folder explains";
  const auto report = json::parse(check_files({.paths = {file}, .headers_only = true}));
  ASSERT_EQ(report["findings"].size(), 1u) << report["findings"];
  EXPECT_NE(report["findings"][0]["message"].get<std::string>().find(words), std::string::npos) << report["findings"];
  EXPECT_FALSE(report["files"][0].contains("vae"));  // no release, no channel count that it does not have
  EXPECT_NE(json::parse(inspect(file))["problem"].get<std::string>().find(words), std::string::npos);
  expect_error(ErrorCode::unsupported, words, [&] { load_model_spec({.model = golden_path("tiny_model"), .vae = file}); });
  folder.write("config.json", read_file(golden_path("tiny_model/vae/config.json")));
  EXPECT_EQ(json::parse(inspect(file))["latent_channels"], 8);
  EXPECT_NO_THROW(load_model_spec({.model = golden_path("tiny_model"), .vae = file}));
}

TEST(Doctor, WarnsOfFp8MatricesThatLookTurned) {
  const TempFolder folder;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const auto file = [&](const std::string& name, const at::Tensor& weight) {
    save_tensors(folder / name, {{"patchify_proj.weight", at::ones({1024, 8}).to(at::kBFloat16)},
                                 {"transformer_blocks.0.scale_shift_table", at::ones({6, 1024}).to(at::kBFloat16)},
                                 {"transformer_blocks.0.attn1.to_q.weight", weight.to(at::kFloat8_e4m3fn)}});
    return folder / name;
  };
  // A turn makes columns as even as chance does: 1 / sqrt(2 * 1024) = 0.022.
  const at::Tensor even = at::randn({1024, 1024}, generator), uneven = even * at::linspace(0.5, 1.5, 1024);
  EXPECT_NE(all(check({file("even.safetensors", even)}), "warning").find("rotated for a special kernel"), std::string::npos);
  EXPECT_EQ(all(check({file("uneven.safetensors", uneven)}), "warning").find("rotated for a special kernel"), std::string::npos);
}

TEST(Doctor, CanBeCancelled) {
  RunHooks hooks;
  hooks.on_progress = [](const Progress&) { return false; };
  expect_error(ErrorCode::cancelled, "cancelled", [&] { check_files({.paths = {golden_path("tiny_model")}}, hooks); });
}

}  // namespace
}  // namespace ltxv::test
