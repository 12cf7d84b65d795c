#include "weights/tensor_io.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "weights/file_builder.h"

namespace ltxv::test {
namespace {

TEST(TensorIo, SavesAndReadsBackEveryType) {
  const TempFolder folder;
  std::map<std::string, at::Tensor> tensors;
  for (const at::ScalarType type :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kLong, at::kInt,
        at::kShort, at::kChar, at::kByte, at::kBool}) {
    tensors[c10::toString(type)] = at::arange(24, at::kFloat).reshape({2, 3, 4}).to(type);
  }
  tensors["scalar"] = at::scalar_tensor(2.5);
  tensors["empty"] = at::empty({3, 0});
  tensors["strided"] = at::arange(24, at::kFloat).reshape({4, 6}).t().slice(0, 1, 5, 2);
  save_tensors(folder / "t", tensors, {{"a", "b"}});
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    const auto source = open_tensors(folder / "t", access);
    EXPECT_EQ(source->metadata().at("a"), "b");
    ASSERT_EQ(source->entries().size(), tensors.size());
    for (const auto& [name, tensor] : tensors) {
      const at::Tensor back = to_tensor(*source->find(name), source);
      ASSERT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
      ASSERT_EQ(back.sizes(), tensor.sizes()) << name;
      EXPECT_TRUE(back.to(at::kDouble).equal(tensor.to(at::kDouble))) << name;
    }
  }
}

TEST(TensorIo, ATensorKeepsItsFileAliveAndUntouched) {
  const TempFolder folder;
  save_tensors(folder / "t", {{"x", at::ones({4})}});
  const std::string bytes = read_file(folder / "t");
  at::Tensor x;
  {
    const auto source = open_tensors(folder / "t");
    x = to_tensor(*source->find("x"), source);
    EXPECT_EQ(x.data_ptr(), static_cast<const void*>(source->find("x")->data));  // in place
  }
  x.mul_(3);
  EXPECT_EQ(x.sum().item<float>(), 12.0f);
  x.reset();
  EXPECT_EQ(read_file(folder / "t"), bytes);
}

TEST(TensorIo, UnalignedBytesAreCopied) {
  const TempFolder folder;
  // A header of odd length puts 1.0f on an odd address.
  std::string header = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  if (header.size() % 2 == 0) header += ' ';
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    const auto source =
        open_tensors(folder.write("t", safetensors(header, std::string("\x00\x00\x80\x3f", 4))), access);
    const at::Tensor x = to_tensor(*source->find("x"), source);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(x.data_ptr()) % 4, 0u);
    EXPECT_EQ(x.item<float>(), 1.0f);
  }
}

TEST(TensorIo, RefusesTypesTheFormatLacks) {
  const TempFolder folder;
  expect_error(ErrorCode::invalid_argument, "tensor 'z' has the element type ComplexFloat", [&] {
    save_tensors(folder / "t", {{"z", at::zeros({1}, at::kComplexFloat)}});
  });
  expect_error(ErrorCode::invalid_argument, "tensor 'z' is undefined", [&] {
    save_tensors(folder / "t", {{"z", at::Tensor()}});
  });
  EXPECT_EQ(folder.file_count(), 0u);
}

// The bit test against ATen's own arithmetic, for all values of the narrow types.
TEST(TensorIo, FindsNanAndInfInEveryBitPattern) {
  const struct {
    StoredType type;
    at::ScalarType scalar;
    int pattern_count;
  } kTypes[] = {{StoredType::f16, at::kHalf, 65536},
                {StoredType::bf16, at::kBFloat16, 65536},
                {StoredType::f8_e4m3, at::kFloat8_e4m3fn, 256},
                {StoredType::f8_e5m2, at::kFloat8_e5m2, 256}};
  for (const auto& type : kTypes) {
    for (int pattern = 0; pattern < type.pattern_count; ++pattern) {
      const auto bits = static_cast<uint16_t>(pattern);
      TensorEntry entry;
      entry.type = type.type;
      entry.shape = {1};
      entry.data = reinterpret_cast<const std::byte*>(&bits);
      entry.byte_count = static_cast<uint64_t>(stored_type_size(type.type));
      at::Tensor value = at::empty({1}, type.scalar);
      std::memcpy(value.data_ptr(), &bits, entry.byte_count);
      ASSERT_EQ(has_nan_or_inf(entry), !std::isfinite(value.to(at::kFloat).item<float>()))
          << stored_type_name(type.type) << pattern;
    }
  }
}

TEST(TensorIo, FindsOneNanAnywhereInALargeTensor) {
  const int64_t count = 3'000'001;  // several pieces of work, the last one ragged
  for (const at::ScalarType scalar : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    at::Tensor x = at::full({count}, -65504.0, scalar);
    TensorEntry entry;
    for (int i = 0; i < 12; ++i) {
      if (scalar_type(static_cast<StoredType>(i)) == scalar) entry.type = static_cast<StoredType>(i);
    }
    entry.data = static_cast<const std::byte*>(x.data_ptr());
    entry.byte_count = static_cast<uint64_t>(x.nbytes());
    EXPECT_FALSE(has_nan_or_inf(entry));
    for (const int64_t at_index : {int64_t{0}, int64_t{1'048'576}, count - 1}) {
      for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        x[at_index] = bad;
        EXPECT_TRUE(has_nan_or_inf(entry)) << c10::toString(scalar) << " " << bad << " at " << at_index;
        x[at_index] = 1.0;
      }
    }
  }
}

}  // namespace
}  // namespace ltxv::test
