#include "weights/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "support/expect_error.h"
#include "support/resident.h"
#include "support/temp_folder.h"
#include "weights/tensor_io.h"

namespace ltxv::test {
namespace {

class ParametersTest : public ::testing::Test {
 protected:
  Parameters parameters(const std::map<std::string, at::Tensor>& tensors, const KeyMap& map = {},
                        at::ScalarType dtype = at::kFloat) {
    save_tensors(path, tensors);
    return {open_tensors(path), map, dtype, "vae"};
  }
  TempFolder folder;
  const std::string path = folder / "w.safetensors";
};

TEST_F(ParametersTest, ATensorOfTheComputeTypeIsUsedInPlace) {
  const at::Tensor w = at::arange(6, at::kFloat).reshape({2, 3});
  save_tensors(path, {{"w", w}});
  const auto source = open_tensors(path);
  Parameters p(source, {}, at::kFloat, "vae");
  const at::Tensor taken = p.take("w", {2, 3});
  EXPECT_EQ(taken.data_ptr(), static_cast<const void*>(source->find("w")->data));
  EXPECT_TRUE(taken.equal(w));
  p.finish();
}

TEST_F(ParametersTest, OtherFloatingTypesAreConvertedOnce) {
  const at::Tensor w = at::tensor({0.5, -448.0, 2.0, 0.0});  // exact in every type here
  std::map<std::string, at::Tensor> tensors;
  for (const at::ScalarType type :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    tensors[c10::toString(type)] = w.to(type);
  }
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    Parameters p = parameters(tensors, {}, dtype);
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor taken = p.take(name, {4});
      EXPECT_EQ(taken.scalar_type(), dtype);
      // -448 has 3 significant bits: e5m2 keeps 3 (the hidden one and two), all others more
      EXPECT_TRUE(taken.to(at::kDouble).equal(w.to(at::kDouble))) << name;
    }
    p.finish();
  }
}

TEST_F(ParametersTest, ATypeOfItsOwnMayBeAskedFor) {
  Parameters p = parameters({{"mean", at::tensor({1.5f})}}, {}, at::kBFloat16);
  EXPECT_EQ(p.take_as("mean", {1}, at::kFloat).scalar_type(), at::kFloat);
}

TEST_F(ParametersTest, AStoredWeightStaysNarrowUnderF32Only) {
  const at::Tensor w = at::tensor({0.5, -448.0, 2.0, 0.0});  // exact in every type here
  const auto stored = [&](at::ScalarType file, at::ScalarType dtype) {
    Parameters p = parameters({{"w", w.to(file)}}, {}, dtype);
    const StoredWeight taken = p.take_stored("w", {4});
    p.finish();
    EXPECT_TRUE(taken.values.to(at::kDouble).equal(w)) << file << " as " << dtype;
    return taken.values.scalar_type();
  };
  EXPECT_EQ(stored(at::kBFloat16, at::kFloat), at::kBFloat16);
  EXPECT_EQ(stored(at::kBFloat16, at::kBFloat16), at::kBFloat16);
  EXPECT_EQ(stored(at::kFloat, at::kBFloat16), at::kBFloat16);
  EXPECT_EQ(stored(at::kHalf, at::kFloat), at::kFloat);
  Parameters p = parameters({{"w", w.to(at::kBFloat16)}});
  expect_error(ErrorCode::bad_weights, "tensor 'x' of shape [4] is missing", [&] { p.take_stored("x", {4}); });
  expect_error(ErrorCode::bad_weights, "has the shape [4], [2] is needed", [&] { p.take_stored("w", {2}); });
}

TEST_F(ParametersTest, AMappedWeightTakesMemoryOnlyWhileItIsRead) {
  constexpr int64_t kCount = 16 << 20;  // 64 MiB
  save_tensors(path, {{"w", at::arange(kCount, at::kFloat)}});
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    Parameters p(open_tensors(path, access), {}, at::kFloat, "vae");
    const StoredWeight taken = p.take_stored("w", {kCount});
    EXPECT_EQ(taken.mapped, access == FileAccess::map);
    const auto before = test::resident_kib("RssFile");
    EXPECT_TRUE(taken.values.equal(at::arange(kCount, at::kFloat)));
    taken.let_go();
    if (access == FileAccess::map) {
      EXPECT_LT(test::resident_kib("RssFile") - before, 32 << 10);
    }
    EXPECT_TRUE(taken.values.equal(at::arange(kCount, at::kFloat)));  // the values are still there
    if (access == FileAccess::map) {
      EXPECT_GT(test::resident_kib("RssFile") - before, 32 << 10);
    }
  }
}

TEST_F(ParametersTest, MissingOtherShapeAndTwiceNameFileTensorAndShapes) {
  Parameters p = parameters({{"a.w", at::zeros({2, 3})}});
  expect_error(ErrorCode::bad_weights, path + ": vae: tensor 'a.b' of shape [4] is missing",
               [&] { p.take("a.b", {4}); });
  expect_error(ErrorCode::bad_weights, path + ": vae: tensor 'a.w' has the shape [2,3], [3,2] is needed", [&] {
    p.take("a.w", {3, 2});
  });
  expect_error(ErrorCode::bad_weights, "has the shape [2,3], [] is needed", [&] { p.take("a.w", {}); });
  p.take("a.w", {2, 3});
  expect_error(ErrorCode::bad_weights, path + ": vae: tensor 'a.w' is used twice", [&] { p.take("a.w", {2, 3}); });
  p.finish();
}

TEST_F(ParametersTest, LeftoversAreCountedAndTenAreListed) {
  std::map<std::string, at::Tensor> tensors;
  for (int i = 10; i < 22; ++i) tensors[text("t", i)] = at::zeros({i});
  Parameters p = parameters(tensors);
  p.take("t10", {10});
  expect_error(ErrorCode::bad_weights, path + ": vae: 11 tensors are not used by this model: 't11' [11], 't12' [12]",
               [&] { p.finish(); });
  expect_error(ErrorCode::bad_weights, "'t20' [20], ...", [&] { p.finish(); });
  for (int i = 11; i < 21; ++i) p.take(text("t", i), {i});
  expect_error(ErrorCode::bad_weights, ": 1 tensor is not used by this model: 't21' [21]", [&] { p.finish(); });
}

TEST_F(ParametersTest, NanAndInfAreRefusedInTheStoredType) {
  const at::Tensor bad = at::tensor({1.0f, std::nanf(""), 2.0f}), infinite = at::tensor({1.0f, INFINITY});
  std::map<std::string, at::Tensor> tensors = {{"nan", bad}, {"inf", infinite}};
  for (const at::ScalarType type : {at::kDouble, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2}) {
    tensors[std::string("nan_") + c10::toString(type)] = bad.to(type);
  }
  Parameters p = parameters(tensors);
  for (const auto& [name, tensor] : tensors) {
    expect_error(ErrorCode::numeric, path + ": vae: tensor '" + name + "' holds NaN or Inf",
                 [&] { p.take(name, tensor.sizes()); });
  }
}

TEST_F(ParametersTest, ValuesTooLargeForFp16AreRefused) {
  Parameters p = parameters({{"w", at::tensor({70000.0f})}, {"fits", at::tensor({65504.0f})}}, {}, at::kHalf);
  expect_error(ErrorCode::numeric, "tensor 'w' has values beyond 65504", [&] { p.take("w", {1}); });
  EXPECT_EQ(p.take("fits", {1}).item<float>(), 65504.0f);
}

TEST_F(ParametersTest, IntegersAreNeverConverted) {
  Parameters p = parameters({{"ids", at::tensor({1, 2, 3}, at::kInt)}, {"w", at::ones({1})}});
  expect_error(ErrorCode::bad_weights, "tensor 'ids' is stored as I32, Float is needed", [&] { p.take("ids", {3}); });
  expect_error(ErrorCode::bad_weights, "tensor 'w' is stored as F32, Long is needed",
               [&] { p.take_as("w", {1}, at::kLong); });
  Parameters q = parameters({{"ids", at::tensor({1, 2, 3}, at::kInt)}});
  EXPECT_TRUE(q.take_as("ids", {3}, at::kInt).equal(at::tensor({1, 2, 3}, at::kInt)));
}

TEST_F(ParametersTest, NamesGoThroughTheMapAndMessagesGiveBoth) {
  const KeyMap map = KeyMap().prefix("proj_in", "patchify_proj").drop("ema");
  Parameters p = parameters({{"proj_in.weight", at::zeros({2})}, {"ema.x", at::zeros({1})}}, map);
  EXPECT_TRUE(p.has("patchify_proj.weight"));
  EXPECT_FALSE(p.has("proj_in.weight"));
  EXPECT_FALSE(p.has("ema.x"));
  EXPECT_EQ(p.shape_of("patchify_proj.weight"), (std::vector<int64_t>{2}));
  EXPECT_EQ(p.shape_of("proj_in.weight"), std::nullopt);
  expect_error(ErrorCode::bad_weights, "tensor 'patchify_proj.weight' (there 'proj_in.weight') has the shape [2]",
               [&] { p.take("patchify_proj.weight", {3}); });
  p.take("patchify_proj.weight", {2});
  p.finish();
  expect_error(ErrorCode::bad_weights, "tensors 'a' and 'b' both mean 'c'", [&] {
    parameters({{"a", at::zeros({1})}, {"b", at::zeros({1})}}, KeyMap().prefix("a", "c").prefix("b", "c"));
  });
}

TEST_F(ParametersTest, CountsBlocksByTheirLargestIndex) {
  std::map<std::string, at::Tensor> tensors = {
      {"blocks.x.w", at::zeros({1})}, {"blocks.7", at::zeros({1})}, {"blocksy.9.w", at::zeros({1})}};
  EXPECT_EQ(parameters(tensors).count_blocks("blocks"), 0);
  for (int i = 0; i < 12; ++i) tensors[text("blocks.", i, ".w")] = at::zeros({1});
  EXPECT_EQ(parameters(tensors).count_blocks("blocks"), 12);
  EXPECT_EQ(parameters(tensors).count_blocks("none"), 0);
  tensors["blocks.1000000000.w"] = at::zeros({1});
  expect_error(ErrorCode::bad_weights, "tensor 'blocks.1000000000.w' numbers a block beyond the 16 tensors",
               [&] { parameters(tensors).count_blocks("blocks"); });
}

TEST_F(ParametersTest, AScopeJoinsPaths) {
  Parameters p = parameters({{"blocks.3.attn.to_q", at::ones({2})}});
  const Scope scope = Scope(p) / "blocks" / 3 / "attn";
  EXPECT_EQ(scope.path(), "blocks.3.attn");
  EXPECT_TRUE(scope.has("to_q"));
  EXPECT_EQ(scope.take("to_q", {2}).sum().item<float>(), 2.0f);
}

TEST_F(ParametersTest, TensorsOutliveParametersAndSource) {
  at::Tensor w;
  {
    Parameters p = parameters({{"w", at::full({1000}, 2.0)}});
    w = p.take("w", {1000});
  }
  EXPECT_EQ(w.sum().item<float>(), 2000.0f);
}

}  // namespace
}  // namespace ltxv::test
