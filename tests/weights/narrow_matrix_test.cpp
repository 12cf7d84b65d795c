// Narrow weights: every stored form against the gguf package and torch, and how matrices in them are taken.
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_folder.h"
#include "weights/dequantise.h"
#include "weights/gguf_builder.h"
#include "weights/parameters.h"
#include "weights/tensor_io.h"

namespace ltxv::test {
namespace {

constexpr std::pair<const char*, uint32_t> kBlockTypes[] = {{"Q4_0", 2},  {"Q4_1", 3},  {"Q5_0", 6},  {"Q5_1", 7},  {"Q8_0", 8},
                                                            {"Q2_K", 10}, {"Q3_K", 11}, {"Q4_K", 12}, {"Q5_K", 13}, {"Q6_K", 14}};

std::string bytes_of(const at::Tensor& tensor) {
  const auto flat = tensor.contiguous();
  return {reinterpret_cast<const char*>(flat.const_data_ptr()), static_cast<size_t>(flat.nbytes())};
}

/// A matrix `layer.weight` [3,512] of a block type.
std::string block_file(const Golden& golden, const std::string& type, uint32_t id) {
  using namespace gguf;
  return file(1, 0, tensor("layer.weight", u64(512) + u64(3), id, 0), bytes_of(golden[type + "/in_bytes"]));
}

TEST(Dequantise, EveryBlockTypeEqualsTheGgufPackage) {
  const Golden golden("narrow/blocks");
  for (const auto& [name, id] : kBlockTypes) {
    const std::string bytes = bytes_of(golden[std::string(name) + "/in_bytes"]);
    const auto expected = golden[std::string(name) + "/values"];
    at::Tensor actual = at::full({3, 512}, 1e9f);
    // One byte on, since tensors may lie anywhere.
    const std::string moved = "x" + bytes;
    dequantise(*stored_type_named(name), reinterpret_cast<const std::byte*>(moved.data() + 1), actual.numel(), actual.data_ptr<float>());
    EXPECT_MATCHES(actual, expected, 1e-6) << name;
  }
}

TEST(Dequantise, BothFp8TypesEqualTorch) {
  const Golden golden("narrow/blocks");
  for (const std::string name : {"F8_E4M3", "F8_E5M2"}) {
    const auto bytes = golden[name + "/in_bytes"];
    const auto expected = golden[name + "/values"];
    at::Tensor actual = at::full(expected.sizes(), 1e9f);
    dequantise(*stored_type_named(name), static_cast<const std::byte*>(bytes.const_data_ptr()), actual.numel(), actual.data_ptr<float>());
    EXPECT_TRUE(at::equal(actual, expected)) << name;
  }
}

TEST(Dequantise, EveryValueOfTwoBytesEqualsTorch) {
  const at::Tensor codes = at::arange(1 << 16, at::kInt).to(at::kShort);
  for (const auto& [type, dtype] : {std::pair{StoredType::bf16, at::kBFloat16}, std::pair{StoredType::f16, at::kHalf}}) {
    const at::Tensor expected = codes.view(dtype).to(at::kFloat);
    at::Tensor actual = at::empty_like(expected);
    dequantise(type, static_cast<const std::byte*>(codes.const_data_ptr()), actual.numel(), actual.data_ptr<float>());
    const at::Tensor finite = at::isfinite(expected);  // a file with another value is refused before
    EXPECT_GT(finite.sum().item<int64_t>(), 63000);
    EXPECT_TRUE(at::equal(actual.masked_select(finite), expected.masked_select(finite))) << c10::toString(dtype);
  }
}

TEST(NarrowMatrix, LargeOnesOfTwoBytesStayInTheFileUnderF32) {
  const TempFolder folder;
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    const at::Tensor large = (at::arange(1 << 20).remainder(251) - 125).to(dtype).view({1024, 1024}), small = large.narrow(0, 0, 4).reshape({64, 64});
    const std::string path = folder / text(c10::toString(dtype), ".safetensors");
    save_tensors(path, {{"large.weight", large}, {"small.weight", small}});
    Parameters parameters(open_tensors(path), KeyMap(), at::kFloat, "test");
    const Matrix kept = parameters.take_matrix("large.weight", {1024, 1024}, MatrixUse::linear);
    ASSERT_TRUE(kept.narrow);
    EXPECT_EQ(kept.dtype(), at::kFloat);
    EXPECT_TRUE(at::equal(kept.narrow->rows(100, 50), large.narrow(0, 100, 50).to(at::kFloat)));
    EXPECT_TRUE(parameters.take_matrix("small.weight", {64, 64}, MatrixUse::linear).plain.defined());
    Parameters same(open_tensors(path), KeyMap(), dtype, "test");
    EXPECT_TRUE(same.take_matrix("large.weight", {1024, 1024}, MatrixUse::linear).plain.defined());
  }
}

// What torch makes of the whole at once, made of a few rows; also of values that bf16 rounds, and of fp16's subnormals.
TEST(NarrowMatrix, LargeOnesOfAnyTypeStayInTheFileWhereEachIsReadOnce) {
  const TempFolder folder;
  for (const at::ScalarType stored : {at::kBFloat16, at::kHalf, at::kFloat}) {
    const at::Tensor i = at::arange(1 << 20, at::kInt);
    const at::Tensor bits = i.remainder(0x7c00) + i.remainder(2) * 0x8000;  // every finite value of fp16
    const at::Tensor values = bits.to(at::kShort).view(at::kHalf).to(at::kFloat) * (stored == at::kFloat ? 1.001f : 1.0f);
    const at::Tensor large = values.to(stored).view({1024, 1024});
    ASSERT_TRUE(at::isfinite(large).all().item<bool>());
    const std::string path = folder / text(c10::toString(stored), ".safetensors");
    save_tensors(path, {{"large.weight", large}, {"small.weight", large.narrow(0, 0, 4).reshape({64, 64})}});
    for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
      Parameters parameters(open_tensors(path), KeyMap(), dtype, "test");
      parameters.read_once();
      const Matrix kept = parameters.take_matrix("large.weight", {1024, 1024}, MatrixUse::linear);
      EXPECT_EQ(kept.narrow == nullptr, stored == dtype) << stored << " as " << dtype;
      EXPECT_EQ(kept.dtype(), dtype);
      const at::Tensor rows = kept.narrow ? kept.narrow->rows(100, 50) : kept.plain.narrow(0, 100, 50);
      EXPECT_TRUE(at::equal(rows, large.narrow(0, 100, 50).to(dtype))) << stored << " as " << dtype;
      EXPECT_TRUE(parameters.take_matrix("small.weight", {64, 64}, MatrixUse::linear).plain.defined());
      Parameters copied(open_tensors(path, FileAccess::copy), KeyMap(), dtype, "test");
      copied.read_once();
      EXPECT_TRUE(copied.take_matrix("large.weight", {1024, 1024}, MatrixUse::linear).plain.defined());
    }
  }
}

TEST(NarrowMatrix, RowsAreThoseOfTheWholeInF32AndBf16) {
  const Golden golden("narrow/blocks");
  const TempFolder folder;
  for (const auto& [name, id] : kBlockTypes) {
    const auto expected = golden[std::string(name) + "/values"];
    const std::string path = folder.write(name, block_file(golden, name, id));
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Parameters parameters(open_tensors(path), KeyMap(), dtype, "test");
      const Matrix matrix = parameters.take_matrix("layer.weight", {3, 512}, MatrixUse::linear);
      parameters.finish();
      ASSERT_TRUE(matrix.narrow);
      EXPECT_EQ(matrix.dtype(), dtype);
      const double tolerance = dtype == at::kFloat ? 1e-6 : 5e-2;  // bf16 rounds by 2^-9 of a value, of about four deviations
      EXPECT_MATCHES(matrix.narrow->rows(0, 3), expected, tolerance) << name;
      EXPECT_MATCHES(matrix.narrow->rows(1, 1), expected.narrow(0, 1, 1), tolerance) << name;
      EXPECT_MATCHES(matrix.narrow->rows(at::tensor({2L, 0L, 2L})), expected.index_select(0, at::tensor({2L, 0L, 2L})), tolerance) << name;
      if (dtype == at::kBFloat16) {
        EXPECT_TRUE(at::equal(matrix.narrow->rows(0, 3), expected.to(at::kBFloat16)) ||
                    relative_rms(matrix.narrow->rows(0, 3), expected.to(at::kBFloat16)) < 1e-4);
      }
    }
    // Whatever is no matrix of a layer is widened as a whole.
    Parameters parameters(open_tensors(path), KeyMap(), at::kFloat, "test");
    EXPECT_MATCHES(parameters.take("layer.weight", {3, 512}), expected, 1e-6) << name;
  }
}

TEST(NarrowMatrix, ABadScaleIsNoWeight) {
  const Golden golden("narrow/blocks");
  const TempFolder folder;
  for (const auto& [name, id] : kBlockTypes) {
    std::string bytes = block_file(golden, name, id);
    const int scale_from_end = std::string(name) == "Q2_K" ? 2 : std::string(name) == "Q3_K" || std::string(name) == "Q6_K" ? 2 : -1;
    const size_t block = static_cast<size_t>(stored_block(*stored_type_named(name)).bytes);
    const size_t at = scale_from_end > 0 ? bytes.size() - 2 : bytes.size() - block;
    bytes[at] = 0, bytes[at + 1] = 0x7c;  // f16 infinity
    Parameters parameters(open_tensors(folder.write(name, bytes)), KeyMap(), at::kFloat, "test");
    expect_error(ErrorCode::numeric, "'layer.weight' holds NaN or Inf",
                 [&] { parameters.take_matrix("layer.weight", {3, 512}, MatrixUse::linear); });
  }
}

using Tensors = std::map<std::string, at::Tensor>;

/// A LoRA file that changes layer.weight by 0.5 * up x down, and one that adds a full difference.
std::shared_ptr<const WeightChanges> changes_of(const TempFolder& folder, const at::Tensor& up, const at::Tensor& down, const at::Tensor& full) {
  save_tensors(folder / "pair.safetensors", {{"layer.lora_A.weight", down}, {"layer.lora_B.weight", up}});
  save_tensors(folder / "full.safetensors", {{"layer.diff", full}});
  const WeightShapes shapes{{"layer.weight", {up.size(0), down.size(1)}}};
  return std::make_shared<const WeightChanges>(
      std::vector<LoraUse>{{folder / "pair.safetensors", 0.5}, {folder / "full.safetensors", -2}}, shapes, KeyMap(), FileAccess::map);
}

TEST(NarrowMatrix, WhatALoraAddsIsAddedToTheRowsInUse) {
  const Golden golden("narrow/blocks");
  const TempFolder folder;
  const auto up = at::tensor({1.0f, 0.5f, -2.0f, 0.25f, 3.0f, -1.0f}).view({3, 2});
  const auto down = at::arange(1024, at::kFloat).view({2, 512}) / 512 - 1, full = at::arange(1536, at::kFloat).view({3, 512}).cos();
  const auto changes = changes_of(folder, up, down, full);
  for (const auto& [name, id] : kBlockTypes) {
    const at::Tensor expected = golden[std::string(name) + "/values"] + at::mm(up, down) * 0.5 - full * 2;
    const std::string path = folder.write(name, block_file(golden, name, id));
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Parameters parameters(open_tensors(path), KeyMap(), dtype, "test", changes);
      const Matrix matrix = parameters.take_matrix("layer.weight", {3, 512}, MatrixUse::linear);
      ASSERT_TRUE(matrix.narrow);
      const double tolerance = dtype == at::kFloat ? 1e-6 : 2e-2;  // of the deviation: bf16 rounds by 2^-9 of a value
      EXPECT_EQ(matrix.narrow->rows(0, 3).scalar_type(), dtype);
      EXPECT_MATCHES(matrix.narrow->rows(0, 3), expected, tolerance) << name;
      EXPECT_MATCHES(matrix.narrow->rows(1, 2), expected.narrow(0, 1, 2), tolerance) << name;
      EXPECT_MATCHES(matrix.narrow->rows(at::tensor({2L, 0L})), expected.index_select(0, at::tensor({2L, 0L})), tolerance) << name;
    }
  }
}

int64_t own_memory_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoll(line.substr(8));
  return 0;
}

TEST(NarrowMatrix, ALoraDoesNotWidenTheMatrixForGood) {
  constexpr int64_t kSide = 8192;  // 64 MiB as fp8, 256 MiB in f32
  const TempFolder folder;
  save_tensors(folder / "model.safetensors", {{"layer.weight", at::ones({kSide, kSide}, at::kByte).view(at::kFloat8_e4m3fn)}});
  const WeightShapes shapes{{"layer.weight", {kSide, kSide}}};
  save_tensors(folder / "lora.safetensors", {{"layer.lora_A.weight", at::ones({4, kSide})}, {"layer.lora_B.weight", at::ones({kSide, 4})}});
  const auto changes = std::make_shared<const WeightChanges>(std::vector<LoraUse>{{folder / "lora.safetensors", 0.25}}, shapes, KeyMap(),
                                                             FileAccess::map);
  const auto before = own_memory_kib();
  Parameters parameters(open_tensors(folder / "model.safetensors"), KeyMap(), at::kFloat, "test", changes);
  const Matrix matrix = parameters.take_matrix("layer.weight", {kSide, kSide}, MatrixUse::linear);
  ASSERT_TRUE(matrix.narrow);
  // The smallest fp8 number, 2^-9, plus 0.25 times the sum of four ones.
  for (int64_t begin = 0; begin < kSide; begin += 512) EXPECT_EQ(matrix.narrow->rows(begin, 1).min().item<float>(), 1.001953125f);
  EXPECT_LT(own_memory_kib() - before, 32 << 10);
}

Matrix take_fp8(const TempFolder& folder, const Tensors& tensors, MatrixUse use = MatrixUse::linear) {
  save_tensors(folder / "fp8.safetensors", tensors);
  Parameters parameters(open_tensors(folder / "fp8.safetensors", FileAccess::copy), KeyMap(), at::kFloat, "test");
  Matrix matrix = parameters.take_matrix("layer.weight", {2, 3}, use);
  parameters.finish();
  return matrix;
}

const at::Tensor kValues = at::tensor({1.0f, -2.0f, 0.5f, 448.0f, 0.001953125f, -0.875f}).view({2, 3});  // all of them fp8 values

TEST(ScaledFp8, ScalesAreApplied) {
  const TempFolder folder;
  const auto narrow = kValues.to(at::kFloat8_e4m3fn);
  EXPECT_TRUE(at::equal(take_fp8(folder, {{"layer.weight", narrow}}).narrow->rows(0, 2), kValues));
  for (const char* name : {"layer.scale_weight", "layer.weight_scale"}) {
    EXPECT_TRUE(at::equal(take_fp8(folder, {{"layer.weight", narrow}, {name, at::tensor(0.25f)}}).narrow->rows(0, 2), kValues * 0.25));
    const auto rows = take_fp8(folder, {{"layer.weight", narrow}, {name, at::tensor({0.25f, 2.0f})}, {"layer.scale_input", at::tensor(1.0f)}});
    EXPECT_TRUE(at::equal(rows.narrow->rows(0, 2), kValues * at::tensor({0.25f, 2.0f}).unsqueeze(1)));
    EXPECT_TRUE(at::equal(rows.narrow->rows(1, 1), kValues.narrow(0, 1, 1) * 2));
  }
  // Layers such a file keeps in bf16 have scales in some files, and none in others.
  const auto plain = take_fp8(folder, {{"layer.weight", kValues.to(at::kBFloat16)}, {"layer.scale_weight", at::tensor(0.5f)}});
  EXPECT_TRUE(at::equal(plain.plain, kValues.to(at::kBFloat16).to(at::kFloat) * 0.5));
}

TEST(ScaledFp8, AMissingScaleIsAnError) {
  const TempFolder folder;
  const auto narrow = kValues.to(at::kFloat8_e4m3fn);
  const Tensors marked = {{"layer.weight", narrow}, {"scaled_fp8", at::empty({0}, at::kFloat8_e4m3fn)}};
  expect_error(ErrorCode::bad_weights, "its scale 'layer.scale_weight' is missing", [&] { take_fp8(folder, marked); });
  EXPECT_TRUE(take_fp8(folder, marked, MatrixUse::table).narrow);
  expect_error(ErrorCode::bad_weights, "its scale 'layer.scale_weight' is missing",
               [&] { take_fp8(folder, {{"layer.weight", narrow}, {"other.scale_weight", at::tensor(1.0f)}}); });
  expect_error(ErrorCode::bad_weights, "has 3 scales, 1 or 2 are needed",
               [&] { take_fp8(folder, {{"layer.weight", narrow}, {"layer.scale_weight", at::tensor({1.0f, 1.0f, 1.0f})}}); });
  expect_error(ErrorCode::numeric, "scale_weight", [&] {
    take_fp8(folder, {{"layer.weight", narrow}, {"layer.scale_weight", at::tensor(std::numeric_limits<float>::infinity())}});
  });
  expect_error(ErrorCode::unsupported, "nvfp4", [&] {
    take_fp8(folder, {{"layer.weight", narrow}, {"layer.comfy_quant", at::tensor({'n' + 0, 'v' + 0, 'f' + 0, 'p' + 0, '4' + 0}, at::kByte)}});
  });
  // A scale of nothing is a tensor that nobody uses.
  expect_error(ErrorCode::bad_weights, "'stray.scale_weight'", [&] {
    take_fp8(folder, {{"layer.weight", narrow}, {"layer.scale_weight", at::tensor(1.0f)}, {"stray.scale_weight", at::tensor(1.0f)}});
  });
}

}  // namespace
}  // namespace ltxv::test
