// LoRA files: names of every tool, scales, and what is refused. Expected values are arithmetic on the matrices written here.
#include "weights/lora_file.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "weights/tensor_io.h"
#include "weights/weight_changes.h"

namespace ltxv::test {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

const std::vector<std::string> kWeights = {"patchify_proj.weight",
                                           "patchify_proj.bias",
                                           "adaln_single.emb.timestep_embedder.linear_1.weight",
                                           "transformer_blocks.0.attn1.to_q.weight",
                                           "transformer_blocks.0.attn1.to_q.bias",
                                           "transformer_blocks.0.attn1.to_out.0.weight",
                                           "transformer_blocks.0.attn1.q_norm.weight",
                                           "transformer_blocks.0.scale_shift_table",
                                           "transformer_blocks.0.ff.net.0.proj.weight"};

KeyMap diffusers_spelling() {
  KeyMap map;
  map.prefix("patchify_proj", "proj_in").prefix("adaln_single", "time_embed").anywhere("q_norm", "norm_q");
  return map;
}

TEST(LoraNames, EveryToolsSpellingFindsItsModule) {
  const ModuleNames names(kWeights, diffusers_spelling());
  const std::map<std::string, std::string> found = {
      {"transformer.transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_q.weight"},
      {"diffusion_model.transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_q.weight"},
      {"model.diffusion_model.transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_q.weight"},
      {"base_model.model.transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_q.weight"},
      {"base_model.model.transformer.transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_q.weight"},
      {"transformer_blocks.0.attn1.to_out.0", "transformer_blocks.0.attn1.to_out.0.weight"},
      {"lora_unet_transformer_blocks_0_attn1_to_out_0", "transformer_blocks.0.attn1.to_out.0.weight"},
      {"lora_transformer_transformer_blocks_0_ff_net_0_proj", "transformer_blocks.0.ff.net.0.proj.weight"},
      {"lycoris_patchify_proj", "patchify_proj.weight"},
      {"lora_unet_proj_in", "patchify_proj.weight"},
      {"transformer.proj_in", "patchify_proj.weight"},
      {"diffusion_model.patchify_proj", "patchify_proj.weight"},
      {"transformer.time_embed.emb.timestep_embedder.linear_1", "adaln_single.emb.timestep_embedder.linear_1.weight"},
      {"lora_unet_adaln_single_emb_timestep_embedder_linear_1", "adaln_single.emb.timestep_embedder.linear_1.weight"},
      {"transformer_blocks.0.attn1.norm_q", "transformer_blocks.0.attn1.q_norm.weight"},
      {"diffusion_model.transformer_blocks.0.scale_shift_table", "transformer_blocks.0.scale_shift_table"}};
  for (const auto& [path, weight] : found) {
    const auto* target = names.find(path);
    ASSERT_NE(target, nullptr) << path;
    EXPECT_EQ(target->weight, weight) << path;
  }
  EXPECT_EQ(names.find("transformer.proj_in")->bias, "patchify_proj.bias");
  EXPECT_EQ(names.find("transformer_blocks.0.attn1.to_out.0")->bias, "");
  for (const char* other : {"transformer_blocks.1.attn1.to_q", "lora_unet_transformer_blocks.0.attn1.to_q", "", "transformer.",
                            "transformer_blocks_0_attn1_to_q", "vae.decoder.conv_in", "unet.down_blocks.0.attn1.to_q"})
    EXPECT_EQ(names.find(other), nullptr) << other;
}

class LoraTest : public ::testing::Test {
 protected:
  std::string file(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    const std::string path = folder_ / text("lora", count_++, ".safetensors");
    save_tensors(path, tensors, metadata);
    return path;
  }
  LoraFile read(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    return read_lora(open_tensors(file(tensors, metadata)));
  }
  /// A model of one layer "a" of 3 inputs and 2 outputs with a bias, and a norm "n".
  WeightChanges changes_of(const std::vector<LoraUse>& uses) { return {uses, shapes_, {}, FileAccess::copy}; }
  WeightChanges changes(const Tensors& tensors, double strength = 1) { return changes_of({{file(tensors), strength}}); }
  void expect_refused(ErrorCode code, const std::string& words, const Tensors& tensors) {
    expect_error(code, words, [&] { changes(tensors); });
  }

  const WeightShapes shapes_ = {{"a.weight", {2, 3}}, {"a.bias", {2}}, {"n.weight", {3}}, {"table", {2, 2}}};
  const at::Tensor down_ = at::tensor({1.f, 2.f, 3.f}).view({1, 3}), up_ = at::tensor({10.f, -1.f}).view({2, 1});
  const at::Tensor product_ = at::tensor({10.f, 20.f, 30.f, -1.f, -2.f, -3.f}).view({2, 3});  // up_ x down_, by hand
  const at::Tensor weight_ = at::tensor({1.f, 1.f, 1.f, 0.f, 0.f, 0.5f}).view({2, 3});

 private:
  TempFolder folder_;
  int count_ = 0;
};

TEST_F(LoraTest, EveryEndingOfAPairIsUnderstood) {
  const std::pair<const char*, const char*> endings[] = {{".lora_A.weight", ".lora_B.weight"},
                                                         {".lora_down.weight", ".lora_up.weight"},
                                                         {".lora.down.weight", ".lora.up.weight"},
                                                         {".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
                                                         {".lora_A.default.weight", ".lora_B.default.weight"},
                                                         {".lora_A", ".lora_B"}};
  for (const auto& [down, up] : endings) {
    const auto c = changes({{std::string("a") + down, down_}, {std::string("a") + up, up_}});
    ASSERT_TRUE(c.touches("a.weight")) << down;
    EXPECT_FALSE(c.touches("a.bias"));
    EXPECT_TRUE(c.applied("a.weight", weight_).equal(weight_ + product_)) << down;
  }
}

TEST_F(LoraTest, AlphaOverRankScalesTheProduct) {
  const auto down = at::cat({down_, at::zeros({3, 3})}), up = at::cat({up_, at::zeros({2, 3})}, 1);  // rank 4, the same product
  for (const auto& alpha : {at::scalar_tensor(2.f), at::tensor({2.0}), at::tensor({2.f}).to(at::kBFloat16), at::tensor({2.f}).to(at::kHalf),
                            at::tensor({int64_t{2}})}) {
    const auto c = changes({{"a.lora_A.weight", down}, {"a.lora_B.weight", up}, {"a.alpha", alpha}});
    EXPECT_TRUE(c.applied("a.weight", weight_).equal(weight_ + product_ * 0.5)) << alpha.toString();
  }
  const auto c = changes({{"a.lora_A.weight", down}, {"a.lora_B.weight", up}});
  EXPECT_TRUE(c.applied("a.weight", weight_).equal(weight_ + product_)) << "without an alpha the factor is 1";
}

TEST_F(LoraTest, SettingsThatDiffusersWritesStateTheAlpha) {
  const Tensors pair = {{"transformer.x.a.lora_A.weight", at::zeros({4, 3})}, {"transformer.x.a.lora_B.weight", at::zeros({2, 4})}};
  const auto scale = [&](const std::string& json) { return read(pair, {{"lora_adapter_metadata", json}}).modules.at(0).scale; };
  EXPECT_EQ(scale(R"({"transformer.lora_alpha": 6, "transformer.r": 4})"), 1.5);
  EXPECT_EQ(scale(R"({"lora_alpha": 6, "use_rslora": true})"), 3.0);
  EXPECT_EQ(scale(R"({"lora_alpha": 6, "alpha_pattern": {"x.a": 8, "b.a": 1}})"), 2.0);
  EXPECT_EQ(scale(R"({"lora_alpha": 6, "alpha_pattern": {"xx.a": 8}})"), 1.5);
  EXPECT_EQ(scale("{}"), 1.0);
  expect_error(ErrorCode::unsupported, "DoRA", [&] { scale(R"({"transformer.use_dora": true})"); });
  expect_error(ErrorCode::bad_weights, "lora_adapter_metadata", [&] { scale("[1"); });
}

TEST_F(LoraTest, DifferencesAndBiasesAreAddedAsTheyAre) {
  const auto c = changes({{"a.diff", product_},
                          {"a.diff_b", at::tensor({4.f, 8.f})},
                          {"n.diff", at::tensor({1.f, 0.f, -1.f})},
                          {"table.diff", at::eye(2)}},
                         0.5);
  EXPECT_TRUE(c.applied("a.weight", weight_).equal(weight_ + product_ * 0.5));
  EXPECT_TRUE(c.applied("a.bias", at::tensor({1.f, 1.f})).equal(at::tensor({3.f, 5.f})));
  EXPECT_TRUE(c.applied("n.weight", at::ones({3})).equal(at::tensor({1.5f, 1.f, 0.5f})));
  EXPECT_TRUE(c.applied("table", at::zeros({2, 2})).equal(at::eye(2) * 0.5));
  // PEFT's bias of the second matrix is scaled as the product is: strength 2 x alpha 3 / rank 1.
  const auto scaled = changes({{"a.lora_A.weight", down_},
                               {"a.lora_B.weight", up_},
                               {"a.lora_B.bias", at::tensor({1.f, -1.f})},
                               {"a.alpha", at::scalar_tensor(3.f)}},
                              2);
  EXPECT_TRUE(scaled.applied("a.bias", at::zeros({2})).equal(at::tensor({6.f, -6.f})));
}

TEST_F(LoraTest, FilesAddUpInF32AndLeaveTheWeightAlone) {
  const std::string first = file({{"a.lora_A.weight", down_.to(at::kBFloat16)}, {"a.lora_B.weight", up_.to(at::kHalf)}});
  const std::string second = file({{"a.diff", at::ones({2, 3})}});
  const auto weight = weight_.to(at::kBFloat16);
  const auto before = weight.clone();
  const auto sum = changes_of({{first, 0.5}, {second, -2}}).applied("a.weight", weight);
  EXPECT_EQ(sum.scalar_type(), at::kFloat);
  EXPECT_TRUE(sum.equal(weight_ + product_ * 0.5 - 2));
  EXPECT_TRUE(weight.equal(before));
  EXPECT_FALSE(changes_of({{first, 0}}).touches("a.weight")) << "a strength of 0 changes nothing at all";
}

TEST_F(LoraTest, TextEncoderTensorsAreLeftOutWithARemark) {
  const auto c = changes({{"a.diff", product_}, {"lora_te_text_model_layers_0_q.lora_down.weight", down_}, {"text_encoder.x.alpha", down_}});
  ASSERT_EQ(c.remarks().size(), 1u);
  EXPECT_NE(c.remarks()[0].find("2 tensors for a text encoder"), std::string::npos) << c.remarks()[0];
}

TEST_F(LoraTest, KeysThatMatchNothingAreListed) {
  expect_refused(ErrorCode::bad_weights, "2 of 3 LoRA keys match nothing in this model: 'something.else', 'transformer.b'",
                 {{"a.diff", product_}, {"transformer.b.lora_A.weight", down_}, {"transformer.b.lora_B.weight", up_}, {"something.else", up_}});
  Tensors many;
  for (int i = 10; i < 30; ++i) many[text("x", i, ".diff")] = up_;
  expect_refused(ErrorCode::bad_weights, "20 of 20 LoRA keys match nothing in this model: 'x10', 'x11', 'x12'", many);
  expect_refused(ErrorCode::bad_weights, "'x19', ...", many);
  expect_refused(ErrorCode::bad_weights, "'n'", {{"n.diff_b", at::zeros({3})}});  // there is no such bias
  expect_refused(ErrorCode::bad_weights, "no LoRA tensors for the transformer", {{"lora_te_x.lora_down.weight", down_}});
}

TEST_F(LoraTest, AModelOfAnotherWidthIsNamedWithBothShapes) {
  expect_refused(ErrorCode::bad_weights, "'a.lora_A.weight' [1,4] does not fit the model's 'a.weight' [2,3]; the file was made for another model",
                 {{"a.lora_A.weight", at::zeros({1, 4})}, {"a.lora_B.weight", up_}});
  expect_refused(ErrorCode::bad_weights, "'a.lora_B.weight' [5,1] does not fit the model's 'a.weight' [2,3]",
                 {{"a.lora_A.weight", down_}, {"a.lora_B.weight", at::zeros({5, 1})}});
  expect_refused(ErrorCode::bad_weights, "'n.lora_A.weight' [1,3] does not fit the model's 'n.weight' [3]",
                 {{"n.lora_A.weight", down_}, {"n.lora_B.weight", at::zeros({3, 1})}});
  expect_refused(ErrorCode::bad_weights, "'a.diff_b' [3] does not fit the model's 'a.bias' [2]", {{"a.diff_b", at::zeros({3})}});
}

TEST_F(LoraTest, DamagedPairsAreRefused) {
  expect_refused(ErrorCode::bad_weights, "'a.lora_A.weight' [1,3] has no up (lora_B) half", {{"a.lora_A.weight", down_}});
  expect_refused(ErrorCode::bad_weights, "'a.lora_up.weight' [2,1] has no down (lora_A) half", {{"a.lora_up.weight", up_}});
  expect_refused(ErrorCode::bad_weights, "'a.lora_A.weight' [2,3] and 'a.lora_B.weight' [2,1] differ in rank",
                 {{"a.lora_A.weight", at::zeros({2, 3})}, {"a.lora_B.weight", up_}});
  expect_refused(ErrorCode::bad_weights, "differ in rank", {{"a.lora_A.weight", at::zeros({0, 3})}, {"a.lora_B.weight", at::zeros({2, 0})}});
  expect_refused(ErrorCode::bad_weights, "[1,3,1,1] is not a matrix", {{"a.lora_A.weight", at::zeros({1, 3, 1, 1})}, {"a.lora_B.weight", up_}});
  expect_refused(ErrorCode::bad_weights, "'a.alpha' [] has no LoRA matrices", {{"a.alpha", at::scalar_tensor(1.f)}});
  expect_refused(ErrorCode::bad_weights, "'a.alpha' [2] is not one number",
                 {{"a.lora_A.weight", down_}, {"a.lora_B.weight", up_}, {"a.alpha", at::zeros({2})}});
  expect_refused(ErrorCode::bad_weights, "is not a finite number",
                 {{"a.lora_A.weight", down_}, {"a.lora_B.weight", up_}, {"a.alpha", at::scalar_tensor(NAN)}});
  expect_refused(ErrorCode::numeric, "'a.lora_B.weight' holds NaN or Inf",
                 {{"a.lora_A.weight", down_}, {"a.lora_B.weight", at::tensor({1.f, INFINITY}).view({2, 1})}});
  expect_refused(ErrorCode::bad_weights, "stored as I64, a floating type is needed", {{"a.diff", at::zeros({2, 3}, at::kLong)}});
  expect_refused(ErrorCode::bad_weights, "mean the same", {{"a.lora_A.weight", down_}, {"a.lora_down.weight", down_}, {"a.lora_B.weight", up_}});
  expect_refused(ErrorCode::bad_weights, "both change 'a.weight'", {{"a.diff", product_}, {"transformer.a.diff", product_}});
}

TEST_F(LoraTest, OtherMethodsAreNamed) {
  const std::pair<const char*, const char*> others[] = {{"a.dora_scale", "DoRA"},
                                                        {"a.lora_magnitude_vector.default.weight", "DoRA"},
                                                        {"a.lokr_w1", "LoKr"},
                                                        {"a.hada_w1_a", "LoHa"},
                                                        {"a.oft_blocks", "OFT"},
                                                        {"a.lora_mid.weight", "Tucker"}};
  for (const auto& [name, method] : others) expect_refused(ErrorCode::unsupported, method, {{name, up_}});
}

TEST_F(LoraTest, TheSizeOfTheControlClipIsInTheMetadata) {
  const Tensors tensors = {{"a.diff", product_}};
  EXPECT_EQ(read(tensors).reference_downscale, 1);
  EXPECT_EQ(read(tensors, {{"reference_downscale_factor", "2"}}).reference_downscale, 2);
  EXPECT_EQ(read(tensors, {{"reference_downscale_factor", "4.0"}}).reference_downscale, 4);
  for (const char* wrong : {"0", "1.5", "-2", "x", "nan", "1e9"})
    expect_error(ErrorCode::bad_weights, "reference_downscale_factor", [&] { read(tensors, {{"reference_downscale_factor", wrong}}); });
  const auto two = file(tensors, {{"reference_downscale_factor", "2"}}), four = file(tensors, {{"reference_downscale_factor", "4"}});
  EXPECT_EQ(changes_of({{file(tensors)}, {two}}).reference_downscale(), 2);
  expect_error(ErrorCode::bad_weights, "4 times smaller", [&] { changes_of({{two}, {four}}); });
}

}  // namespace
}  // namespace ltxv::test
