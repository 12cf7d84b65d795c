// Blocks whose products are of eight-bit codes: which layers, which codes, and how far from the exact ones.
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "transformer/transformer.h"
#include "weights/weight_changes.h"

namespace ltxv {
namespace {

using ops::QuantType;
using Tensors = std::map<std::string, at::Tensor>;

at::Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions().dtype(at::kFloat));
}

class Layer {
 public:
  explicit Layer(const Tensors& tensors) {
    Tensors named;
    for (const auto& [name, tensor] : tensors) named["layer." + name] = tensor;
    save_tensors(folder_ / "layer.safetensors", named);
    parameters_.emplace(open_tensors(folder_ / "layer.safetensors"), KeyMap(), at::kFloat, "layer");
  }
  nn::Linear operator()(int64_t in, int64_t out, QuantType type) { return nn::Linear(Scope(*parameters_) / "layer", in, out, type); }

 private:
  test::TempFolder folder_;
  std::optional<Parameters> parameters_;
};

TEST(QuantisedLinear, IsTheProductOfTheCodes) {
  const auto weight = draw({24, 40}, 1), bias = draw({24}, 2), x = draw({2, 7, 40}, 3);
  for (const auto type : {QuantType::int8, QuantType::fp8}) {
    const auto layer = Layer({{"weight", weight}, {"bias", bias}})(40, 24, type);
    EXPECT_EQ(layer.dtype(), at::kFloat);
    const auto w = ops::widened(ops::quantise_rows(weight, type), at::kFloat), rows = ops::widened(ops::quantise_rows(x, type), at::kFloat);
    const auto expected = at::linear(rows.to(at::kDouble), w.to(at::kDouble), bias.to(at::kDouble));
    EXPECT_LE((layer(x) - expected).abs().max().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(layer(nn::Input{{}, ops::quantise_rows(x, type)}), layer(x)));
    // The steps of int8 are 1/127 of the largest value, those of e4m3 an eighth of each: rounding costs less than 2 and 6 % of the deviation.
    const double limit = type == QuantType::int8 ? 0.02 : 0.06;
    EXPECT_MATCHES(layer(x), at::linear(x, weight, bias), limit * 4);  // the largest of 336 deviations
    EXPECT_GT(test::error_over_deviation(layer(x), at::linear(x, weight, bias)), 1e-3);
  }
}

TEST(QuantisedLinear, TheHiddenLayersGeluComesAsCodes) {
  const auto weight = draw({24, 40}, 1), bias = draw({24}, 2), x = draw({2, 7, 40}, 3);
  for (const auto type : {QuantType::int8, QuantType::fp8}) {
    const auto layer = Layer({{"weight", weight}, {"bias", bias}})(40, 24, type);
    const auto hidden = layer.with_gelu(nn::Input{x, {}});
    ASSERT_TRUE(hidden.codes.defined());
    const auto expected = at::gelu(layer(x), "tanh");
    const auto largest = expected.abs().amax(-1, true);
    // Half a step of the largest binade is 1/28 of the row's largest value for e4m3, 1/254 for int8.
    EXPECT_LE(((hidden.as(at::kFloat) - expected).abs() / largest).max().item<double>(), type == QuantType::int8 ? 1.0 / 253 : 1.0 / 27.9);
  }
}

TEST(QuantisedLinear, CodesOfAFileAreUsedAsTheyAre) {
  const auto codes = (draw({24, 40}, 1) * 100).to(at::kFloat8_e4m3fn);
  const auto bias = draw({24}, 2);
  for (const auto& scale : {at::full({1}, 0.25f), at::rand({24}) + 0.5f, at::Tensor()}) {
    Tensors tensors{{"weight", codes}, {"bias", bias}};
    if (scale.defined()) tensors["weight_scale"] = scale;
    const auto layer = Layer(tensors)(40, 24, QuantType::fp8);
    EXPECT_TRUE(at::equal(layer.quantised->codes.view(at::kByte), codes.view(at::kByte)));
    EXPECT_TRUE(at::equal(layer.quantised->scales, (scale.defined() ? scale : at::ones({1})).expand({24})));
  }
}

TEST(QuantisedLinear, OtherNarrowWeightsAreQuantisedAnew) {
  const auto codes = draw({24, 40}, 1).to(at::kFloat8_e5m2);
  const auto layer = Layer({{"weight", codes}, {"bias", draw({24}, 2)}})(40, 24, QuantType::fp8);
  const auto expected = ops::quantise_rows(codes.to(at::kFloat), QuantType::fp8);
  EXPECT_TRUE(at::equal(layer.quantised->codes.view(at::kByte), expected.codes.view(at::kByte)));
  EXPECT_TRUE(at::equal(layer.quantised->scales, expected.scales));
}

TEST(QuantisedLinear, ALoraIsAddedBeforeTheWeightIsQuantised) {
  const test::TempFolder folder;
  const auto weight = draw({24, 40}, 1), down = draw({4, 40}, 4), up = draw({24, 4}, 5);
  save_tensors(folder / "lora.safetensors", {{"layer.lora_A.weight", down}, {"layer.lora_B.weight", up}});
  const auto changes = std::make_shared<const WeightChanges>(std::vector<LoraUse>{{folder / "lora.safetensors", 0.5}}, WeightShapes{{"layer.weight", {24, 40}}},
                                                             KeyMap(), FileAccess::copy);
  for (const auto& stored : {weight, weight.to(at::kFloat8_e4m3fn)}) {
    save_tensors(folder / "layer.safetensors", {{"layer.weight", stored}, {"layer.bias", draw({24}, 2)}});
    Parameters parameters(open_tensors(folder / "layer.safetensors"), KeyMap(), at::kFloat, "layer", changes);
    const nn::Linear layer(Scope(parameters) / "layer", 40, 24, QuantType::fp8);
    const auto sum = stored.to(at::kFloat) + 0.5 * at::matmul(up, down);
    const auto expected = ops::quantise_rows(sum, QuantType::fp8);
    // Sums of other order may fall on the other side of the middle between two codes, rarely.
    EXPECT_LE((layer.quantised->codes.view(at::kByte) != expected.codes.view(at::kByte)).sum().item<int64_t>(), 3);
    EXPECT_MATCHES(layer.quantised->scales, expected.scales, 1e-5);
  }
}

class QuantisedTransformer : public ::testing::Test {
 protected:
  at::Tensor velocity(const TransformerOptions& options, at::ScalarType dtype = at::kFloat, const Perturbation* perturbation = nullptr) {
    Parameters parameters = test::tiny_parameters("transformer", dtype);
    const Transformer transformer(test::tiny_transformer_config(), parameters, options);
    EXPECT_EQ(transformer.dtype(), dtype);
    const auto prompt = transformer.prepare_prompt(golden_["in_embeds"].narrow(0, 0, 1), golden_["in_masks"].narrow(0, 0, 1));
    const auto rope = make_rope_table(golden_["plain/in_positions"], transformer.config());
    const auto tokens = golden_["in_tokens"], sigmas = golden_["plain/in_sigmas"];
    return transformer.forward({tokens, transformer.noise_levels(sigmas), rope, {&prompt, &prompt}, perturbation}, {});
  }
  test::Golden golden_{"transformer"};
};

TEST_F(QuantisedTransformer, IsNearTheExactOne) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto exact = velocity({}, dtype);
    for (const auto type : {QuantType::int8, QuantType::fp8}) {
      const auto quantised = velocity({.blocks = {.quantisation = type}}, dtype);
      const double error = (quantised - exact).norm().item<double>() / exact.norm().item<double>();
      EXPECT_LE(error, type == QuantType::int8 ? 0.02 : 0.05);
      EXPECT_GT(error, 1e-4);  // one of three blocks does have codes
      EXPECT_EQ(quantised.scalar_type(), at::kFloat);
    }
  }
}

TEST_F(QuantisedTransformer, AttentionInEightBitsIsNear) {
  const auto exact = velocity({}), eight = velocity({.blocks = {.int8_attention = true}});
  const double error = (eight - exact).norm().item<double>() / exact.norm().item<double>();
  EXPECT_LE(error, 0.05);
  EXPECT_GT(error, 1e-5);
}

TEST_F(QuantisedTransformer, IsNearUnderEveryPerturbation) {
  for (const auto mode : {SkipMode::attention_values, SkipMode::attention_skip, SkipMode::residual, SkipMode::transformer_block}) {
    const Perturbation perturbation{{1}, mode};
    const auto exact = velocity({}, at::kFloat, &perturbation), quantised = velocity({.blocks = {.quantisation = QuantType::int8}}, at::kFloat, &perturbation);
    EXPECT_LE((quantised - exact).norm().item<double>() / exact.norm().item<double>(), 0.02);
  }
}

}  // namespace
}  // namespace ltxv
