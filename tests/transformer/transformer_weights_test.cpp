// Weights that do not fit the transformer: each one line that names the tensor and the file.
#include <ATen/CPUGeneratorImpl.h>

#include "registry.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "transformer/transformer.h"

namespace ltxv {
namespace {

using test::expect_error;
using Tensors = std::map<std::string, at::Tensor>;

Tensors tiny_tensors() {
  const auto source = open_component_folder(test::golden_path("tiny_model/transformer"));
  Tensors tensors;
  for (const auto& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  return tensors;
}

void build(const Tensors& tensors, at::ScalarType dtype = at::kFloat) {
  const test::TempFolder folder;
  save_tensors(folder / "model.safetensors", tensors);
  Parameters parameters(open_tensors(folder / "model.safetensors", FileAccess::copy),
                        test::diffusers_transformer_names(), dtype, "transformer");
  Transformer(test::tiny_transformer_config(), parameters);
}

TEST(TransformerWeights, TheTinyModelIsComplete) { EXPECT_NO_THROW(build(tiny_tensors())); }

// A large bf16 layer: packing changes the order in which it lies in memory and nothing else.
TEST(TransformerWeights, APackedLayerIsAsExactAsTheLayer) {
  const c10::InferenceMode inference;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, generator, at::TensorOptions()).to(at::kBFloat16); };
  const auto weight = draw({1024, 1056}), bias = draw({1024}), x = draw({2, 77, 1056});
  const test::TempFolder folder;
  save_tensors(folder / "w.safetensors", {{"weight", weight}, {"bias", bias}});
  Parameters parameters(open_tensors(folder / "w.safetensors"), {}, at::kBFloat16, "layer");
  nn::Linear layer(Scope(parameters), 1056, 1024);
  const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  const auto error = [&] { return (layer(x).to(at::kDouble) - exact).abs().max().item<double>(); };
  const double plain = error();
  layer.pack();
  parameters.mapped_weights().let_go();
  EXPECT_LE(error(), 2 * plain);
  EXPECT_LE(error(), exact.abs().max().item<double>() / 128);  // bf16 has 8 bits
  EXPECT_EQ(layer.packed.defined(), ops::cpu_features().bf16);
}

// A large layer under f32, stored in bf16 or in f32: widened once.
TEST(TransformerWeights, APackedLayerUnderF32IsAsExactAsTheLayer) {
  const c10::InferenceMode inference;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, generator, at::TensorOptions()); };
  const auto bias = draw({1024}), x = draw({2, 77, 1056});
  for (const auto stored : {at::kBFloat16, at::kFloat}) {
    const auto weight = draw({1024, 1056}).to(stored);
    const test::TempFolder folder;
    save_tensors(folder / "w.safetensors", {{"weight", weight}, {"bias", bias}});
    Parameters parameters(open_tensors(folder / "w.safetensors"), {}, at::kFloat, "layer");
    nn::Linear layer(Scope(parameters), 1056, 1024);
    const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    const auto error = [&] { return (layer(x).to(at::kDouble) - exact).abs().max().item<double>(); };
    const double plain = error();
    layer.pack();
    parameters.mapped_weights().let_go();
    // oneDNN adds 1056 products up in one chain where MKL takes several: 2.8 times the rounding here.
    EXPECT_LE(error(), 4 * plain);
    EXPECT_LE(error(), exact.abs().max().item<double>() * 1e-5);
    EXPECT_EQ(layer.packed.defined(), ops::cpu_features().avx512);
    EXPECT_EQ(layer.dtype(), at::kFloat);
  }
}

TEST(TransformerWeights, EveryTensorIsNeeded) {
  const auto all = tiny_tensors();
  for (const auto& [name, tensor] : all) {
    auto fewer = all;
    fewer.erase(name);
    EXPECT_THROW(build(fewer), BadWeights) << name;
  }
  auto fewer = all;
  fewer.erase("transformer_blocks.1.attn2.norm_k.weight");
  expect_error(ErrorCode::bad_weights, "transformer_blocks.1.attn2.k_norm.weight", [&] { build(fewer); });
}

TEST(TransformerWeights, LeftOverTensorsAreNamed) {
  auto more = tiny_tensors();
  more["transformer_blocks.3.attn1.to_q.weight"] = at::zeros({20, 20});
  expect_error(ErrorCode::bad_weights, "transformer_blocks.3.attn1.to_q.weight", [&] { build(more); });
}

TEST(TransformerWeights, AnotherShapeIsNamedWithBothShapes) {
  auto other = tiny_tensors();
  other["transformer_blocks.2.ff.net.2.weight"] = at::zeros({20, 81});
  expect_error(ErrorCode::bad_weights, "transformer_blocks.2.ff.net.2.weight", [&] { build(other); });
  expect_error(ErrorCode::bad_weights, "81", [&] { build(other); });
}

TEST(TransformerWeights, NanAndInfAreFound) {
  for (const double value : {std::nan(""), HUGE_VAL}) {
    auto bad = tiny_tensors();
    bad["transformer_blocks.0.attn1.to_v.bias"][3] = value;
    expect_error(ErrorCode::numeric, "transformer_blocks.0.attn1.to_v.bias", [&] { build(bad); });
  }
}

TEST(TransformerWeights, ValuesThatOverflowTheComputeTypeAreFound) {
  auto large = tiny_tensors();
  large["proj_out.bias"][0] = 1e30;  // finite in f32 and bf16, infinite in f16
  EXPECT_NO_THROW(build(large, at::kBFloat16));
  expect_error(ErrorCode::numeric, "proj_out.bias", [&] { build(large, at::kHalf); });
}

}  // namespace
}  // namespace ltxv
