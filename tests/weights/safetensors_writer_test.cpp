#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <locale>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "weights/file_builder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {
namespace {

TEST(SafetensorsWriter, WritesTheFormatByteForByte) {
  const TempFolder folder;
  const float floats[] = {1.0f, -2.0f};
  const uint8_t bytes[] = {7, 8, 9};
  write_safetensors(folder / "t.safetensors",
                    {{"a", StoredType::u8, {3}, bytes}, {"b", StoredType::f32, {2, 1}, floats}}, {{"k", "v\"\n"}});
  // The wider type comes first; the header is filled up with blanks to a multiple of 8.
  std::string header = R"({"__metadata__":{"k":"v\"\n"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
  while (header.size() % 8 != 0) header += ' ';
  EXPECT_EQ(read_file(folder / "t.safetensors"),
            safetensors(header, std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x07\x08\x09", 11)));
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(SafetensorsWriter, ReadsBackEveryTypeAlignedToItsElement) {
  const TempFolder folder;
  const std::string data = counting(8 * 6);
  const StoredType kTypes[] = {StoredType::f64,     StoredType::f32,     StoredType::f16, StoredType::bf16,
                               StoredType::f8_e4m3, StoredType::f8_e5m2, StoredType::i64, StoredType::i32,
                               StoredType::i16,     StoredType::i8,      StoredType::u8,  StoredType::boolean};
  std::vector<TensorToWrite> tensors;
  for (const StoredType type : kTypes)
    tensors.push_back({std::string(stored_type_name(type)), type, {3, 1, 2}, data.data()});
  tensors.push_back({"scalar", StoredType::i16, {}, data.data()});
  tensors.push_back({"empty", StoredType::f32, {0, 4}, nullptr});
  write_safetensors(folder / "t", tensors);
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    const auto source = open_tensors(folder / "t", access);
    ASSERT_EQ(source->entries().size(), tensors.size());
    for (const TensorToWrite& tensor : tensors) {
      const TensorEntry* entry = source->find(tensor.name);
      ASSERT_NE(entry, nullptr) << tensor.name;
      EXPECT_EQ(entry->type, tensor.type);
      EXPECT_EQ(entry->shape, tensor.shape);
      EXPECT_EQ(std::memcmp(entry->data, data.data(), entry->byte_count), 0) << tensor.name;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(entry->data) % static_cast<uintptr_t>(stored_type_size(entry->type)), 0u)
          << tensor.name;
    }
  }
}

TEST(SafetensorsWriter, ReplacesAFileAndNeverAnythingElse) {
  const TempFolder folder;
  const uint8_t byte = 5;
  const std::vector<TensorToWrite> one = {{"x", StoredType::u8, {1}, &byte}};
  folder.write("t", "old");
  write_safetensors(folder / "t", one);
  EXPECT_EQ(open_tensors(folder / "t")->entries().size(), 1u);
  expect_error(ErrorCode::io, "it is a folder", [&] { write_safetensors(folder.path(), one); });
  expect_error(ErrorCode::io, "it is no regular file", [&] { write_safetensors("/dev/null", one); });
  expect_error(ErrorCode::io, "No such file", [&] { write_safetensors(folder / "absent/t", one); });
  expect_error(ErrorCode::io, "no file name", [&] { write_safetensors("", one); });
  expect_error(ErrorCode::io, "no file name", [&] { write_safetensors(folder.path() + "/", one); });
  write_safetensors(folder / std::string(255, 'n'), one);  // the longest name a folder takes
  EXPECT_EQ(folder.file_count(), 2u);
}

TEST(SafetensorsWriter, LeavesNothingWhenTheDiskIsFull) {
  const TempFolder folder;
  const std::string data(100'000, 'd');
  // A limit on file sizes makes write() fail half-way, as a full disk does.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tight = {50'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  expect_error(ErrorCode::io, (folder / "t") + ": cannot be written: ", [&] {
    write_safetensors(folder / "t", {{"x", StoredType::u8, {100'000}, data.data()}});
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(folder.file_count(), 0u);
}

TEST(SafetensorsWriter, RefusesNamesAndShapesTheFormatCannotHold) {
  const TempFolder folder;
  const uint8_t byte = 5;
  const auto refused = [&](const std::string& words, std::vector<TensorToWrite> tensors,
                           std::map<std::string, std::string> metadata = {}) {
    expect_error(ErrorCode::invalid_argument, words, [&] { write_safetensors(folder / "t", tensors, metadata); });
  };
  refused("twice", {{"x", StoredType::u8, {1}, &byte}, {"x", StoredType::u8, {1}, &byte}});
  refused("cannot name a tensor", {{"__metadata__", StoredType::u8, {1}, &byte}});
  refused("cannot name a tensor", {{"", StoredType::u8, {1}, &byte}});
  refused("not valid UTF-8", {{"\xff", StoredType::u8, {1}, &byte}});
  refused("not valid UTF-8", {}, {{"k", "\xc3"}});
  refused("impossible shape", {{"x", StoredType::u8, {-1}, &byte}});
  refused("impossible shape", {{"x", StoredType::f64, {int64_t{1} << 62}, &byte}});
  EXPECT_EQ(folder.file_count(), 0u);
}

struct GroupedDigits : std::numpunct<char> {
  char do_thousands_sep() const override { return ','; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(SafetensorsWriter, IgnoresTheHostsLocale) {
  const TempFolder folder;
  const std::string data(12'345, 'd');
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new GroupedDigits));
  write_safetensors(folder / "t", {{"x", StoredType::u8, {12'345}, data.data()}});
  std::locale::global(before);
  EXPECT_EQ(open_tensors(folder / "t")->find("x")->byte_count, 12'345u);
}

}  // namespace
}  // namespace ltxv::test
