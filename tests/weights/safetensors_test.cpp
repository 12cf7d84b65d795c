#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <ctime>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "weights/file_builder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {
namespace {

// Two tensors of 8 + 4 bytes; valid as it stands.
const char* const kTwo = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                         R"("a":{"dtype":"U8","shape":[2,2],"data_offsets":[8,12]}})";

TEST(Safetensors, ReadsNamesTypesShapesAndBytes) {
  const TempFolder folder;
  const std::string path = folder.write("two.safetensors", safetensors(kTwo, counting(12)));
  for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
    const auto source = open_tensors(path, access);
    ASSERT_EQ(source->entries().size(), 2u);
    EXPECT_EQ(source->path(), path);
    EXPECT_EQ(source->metadata().at("format"), "pt");
    const TensorEntry& a = source->entries()[0];
    EXPECT_EQ(a.name, "a");
    EXPECT_EQ(a.type, StoredType::u8);
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 2}));
    EXPECT_EQ(a.file, path);
    EXPECT_EQ(std::memcmp(a.data, "\x08\x09\x0a\x0b", 4), 0);
    const TensorEntry* b = source->find("b");
    ASSERT_NE(b, nullptr);
    EXPECT_EQ(b->byte_count, 8u);
    EXPECT_EQ(std::memcmp(b->data, "\0\1\2\3\4\5\6\7", 8), 0);
    EXPECT_EQ(source->find("c"), nullptr);
    EXPECT_EQ(source->find(""), nullptr);
  }
}

TEST(Safetensors, EveryElementTypeHasItsNameAndSize) {
  const struct {
    const char* name;
    StoredType type;
    int64_t size;
  } kTypes[] = {{"F64", StoredType::f64, 8},   {"F32", StoredType::f32, 4},         {"F16", StoredType::f16, 2},
                {"BF16", StoredType::bf16, 2}, {"F8_E4M3", StoredType::f8_e4m3, 1}, {"F8_E5M2", StoredType::f8_e5m2, 1},
                {"I64", StoredType::i64, 8},   {"I32", StoredType::i32, 4},         {"I16", StoredType::i16, 2},
                {"I8", StoredType::i8, 1},     {"U8", StoredType::u8, 1},           {"BOOL", StoredType::boolean, 1}};
  const TempFolder folder;
  for (const auto& type : kTypes) {
    const std::string end = std::to_string(3 * type.size);
    const auto source =
        open_tensors(folder.write("t", safetensors(std::string(R"({"x":{"dtype":")") + type.name +
                                                       R"(","shape":[3],"data_offsets":[0,)" + end + "]}}",
                                                   counting(static_cast<size_t>(3 * type.size)))));
    EXPECT_EQ(source->entries()[0].type, type.type) << type.name;
    EXPECT_EQ(stored_type_name(type.type), type.name);
    EXPECT_EQ(stored_type_size(type.type), type.size);
  }
}

TEST(Safetensors, AcceptsScalarsEmptyTensorsNoTensorsAndPadding) {
  const TempFolder folder;
  const auto source = open_tensors(folder.write(
      "t",
      safetensors(
          R"({"s":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[1,1]}}   )",
          "\x2a")));
  EXPECT_TRUE(source->find("s")->shape.empty());
  EXPECT_EQ(source->find("s")->byte_count, 1u);
  EXPECT_EQ(source->find("e")->byte_count, 0u);
  EXPECT_TRUE(open_tensors(folder.write("none", safetensors("{}")))->entries().empty());
  EXPECT_EQ(open_tensors(folder.write("odd", safetensors("  " + std::string(kTwo), counting(12))))->entries().size(),
            2u);
}

TEST(Safetensors, TheDataMayStartAtAnyByte) {
  const TempFolder folder;
  for (size_t pad = 0; pad < 9; ++pad) {
    const auto source = open_tensors(folder.write("t", safetensors(kTwo + std::string(pad, ' '), counting(12))));
    EXPECT_EQ(std::memcmp(source->find("a")->data, "\x08\x09\x0a\x0b", 4), 0) << pad;
  }
}

TEST(Safetensors, AWriteToTheMappingDoesNotReachTheFile) {
  const TempFolder folder;
  const std::string bytes = safetensors(kTwo, counting(12)), path = folder.write("t", bytes);
  {
    const auto source = open_tensors(path);
    const_cast<std::byte*>(source->find("a")->data)[0] = std::byte{0xff};
  }
  EXPECT_EQ(read_file(path), bytes);
}

TEST(Safetensors, ACopyOutlivesTheFileBeingCut) {
  const TempFolder folder;
  const std::string path = folder.write("t", safetensors(kTwo, counting(12)));
  const auto source = open_tensors(path, FileAccess::copy);
  std::filesystem::resize_file(path, 0);
  EXPECT_EQ(std::memcmp(source->find("a")->data, "\x08\x09\x0a\x0b", 4), 0);
}

struct BadCase {
  const char* name;
  std::string bytes;
  ErrorCode code;
  const char* words;
};

// One tensor "x" with the given field values and `size` bytes of data.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets, size_t size) {
  return safetensors(R"({"x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
                     counting(size));
}

std::string header_only(const std::string& header) { return safetensors(header); }

std::vector<BadCase> bad_files() {
  const auto F = ErrorCode::bad_weights;
  const auto U = ErrorCode::unsupported;
  const std::string f = "\"F32\"", good = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  std::string many = "{";
  for (int i = 0; i <= 200'000; ++i) {
    many += (i ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  many += "}";
  std::vector<BadCase> cases = {
      {"empty", "", F, "is empty"},
      {"seven_bytes", std::string(7, '\0'), F, "has 7 bytes"},
      {"length_only", little_endian(2), F, "header length is 2, but only 0 bytes follow"},
      {"length_zero", little_endian(0) + "{}", F, "does not begin with '{'"},
      {"length_over_limit", little_endian(100'000'001) + "{}", F, "at most 100000000"},
      {"length_wraps", little_endian(~uint64_t{0} - 3) + "{}", F, "header length is 18446744073709551612"},
      {"length_over_file", little_endian(3) + "{}", F, "header length is 3, but only 2 bytes follow"},
      {"no_brace", header_only("[]"), F, "does not begin with '{'"},
      {"bad_utf8", header_only("{\"\xff\":" + good + "}"), F, "not valid JSON"},
      {"lone_surrogate", header_only(R"({"\ud800":1})"), F, "not valid JSON"},
      {"json_cut", header_only(R"({"x":{"dtype":"U8")"), F, "not valid JSON"},
      {"json_tail", header_only("{}x"), F, "not valid JSON"},
      {"zero_byte", header_only(std::string("{}\0{}", 5)), F, "not valid JSON at its byte 2"},
      {"json_comment", header_only("{/**/}"), F, "not valid JSON"},
      {"number_too_large", one(f, "[1e400]", "[0,4]", 4), F, "not valid JSON"},
      {"million_lists", header_only("{\"x\":" + std::string(1'000'000, '[')), F,
       "tensor 'x' holds a list, an object is needed"},
      {"nested_list", one(f, "[[1]]", "[0,4]", 4), F, "holds a list, a list of whole numbers"},
      {"nested_object", one(f, "{}", "[0,4]", 4), F, "field 'shape' holds an object"},
      {"tensor_is_string", header_only(R"({"x":"y"})"), F, "tensor 'x' holds the string 'y', an object is needed"},
      {"tensor_is_null", header_only(R"({"x":null})"), F, "tensor 'x' holds null"},
      {"name_twice", safetensors("{\"x\":" + good + R"(,"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "ab"),
       F, "tensor 'x' occurs twice"},
      {"dtype_twice", header_only(R"({"x":{"dtype":"U8","dtype":"U8"}})"), F, "field 'dtype' occurs twice"},
      {"shape_twice", header_only(R"({"x":{"shape":[1],"shape":[1]}})"), F, "field 'shape' occurs twice"},
      {"offsets_twice", header_only(R"({"x":{"data_offsets":[0,1],"data_offsets":[0,1]}})"), F,
       "field 'data_offsets' occurs twice"},
      {"unknown_field", header_only(R"({"x":{"offset":1}})"), F, "field 'offset' is unknown"},
      {"no_dtype", header_only(R"({"x":{"shape":[1],"data_offsets":[0,1]}})"), F, "tensor 'x' has no dtype"},
      {"no_shape", header_only(R"({"x":{"dtype":"U8","data_offsets":[0,1]}})"), F, "tensor 'x' has no shape"},
      {"no_offsets", header_only(R"({"x":{"dtype":"U8","shape":[1]}})"), F, "tensor 'x' has no data_offsets"},
      {"unknown_dtype", one("\"F4\"", "[2]", "[0,1]", 1), U, "tensor 'x': its type 'F4' is not one this library reads"},
      {"dtype_lower_case", one("\"f32\"", "[1]", "[0,4]", 4), U, "its type 'f32'"},
      {"dtype_number", one("5", "[1]", "[0,4]", 4), F, "field 'dtype' holds the number 5, a string is needed"},
      {"dtype_list", one("[]", "[1]", "[0,4]", 4), F, "field 'dtype' holds a list, a string is needed"},
      {"shape_negative", one(f, "[-1]", "[0,4]", 4), F, "field 'shape' holds the number -1"},
      {"shape_float", one(f, "[1.0]", "[0,4]", 4), F, "field 'shape' holds the number 1.0"},
      {"shape_exponent", one(f, "[1e3]", "[0,4000]", 4000), F, "field 'shape' holds the number 1e3"},
      {"shape_2_64", one(f, "[18446744073709551616]", "[0,4]", 4), F,
       "field 'shape' holds the number 18446744073709551616"},
      {"shape_2_63", one("\"U8\"", "[9223372036854775808]", "[0,4]", 4), F, "more elements than 64 bits can count"},
      {"shape_string", one(f, "[\"1\"]", "[0,4]", 4), F, "field 'shape' holds the string '1'"},
      {"shape_truth", one(f, "[true]", "[0,4]", 4), F, "field 'shape' holds a truth value"},
      {"shape_number", one(f, "1", "[0,4]", 4), F, "field 'shape' holds the number 1"},
      {"rank_9", one(f, "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4), F, "has more than 8 entries"},
      {"product_wraps_to_0", one("\"U8\"", "[4294967296,4294967296]", "[0,0]", 0), F,
       "more elements than 64 bits can count"},
      {"product_wraps_behind_0", one("\"U8\"", "[0,4294967296,4294967296]", "[0,0]", 0), F,
       "more elements than 64 bits can count"},
      {"bytes_wrap", one("\"F64\"", "[2305843009213693952]", "[0,0]", 0), F, "more elements than 64 bits can count"},
      {"begin_after_end", one(f, "[1]", "[4,0]", 4), F, "data_offsets begin at 4 after their end 0"},
      {"offset_negative", one(f, "[1]", "[-4,0]", 4), F, "field 'data_offsets' holds the number -4"},
      {"offset_float", one(f, "[1]", "[0,4.0]", 4), F, "field 'data_offsets' holds the number 4.0"},
      {"one_offset", one(f, "[1]", "[0]", 4), F, "data_offsets has 1 entries, 2 are needed"},
      {"three_offsets", one(f, "[1]", "[0,4,4]", 4), F, "data_offsets has 3 entries, 2 are needed"},
      {"overlap", safetensors("{\"x\":" + good + ",\"y\":" + good + "}", "a"), F,
       "tensor 'y': starts at byte 0 of the data, inside"},
      {"hole", one("\"U8\"", "[1]", "[1,2]", 2), F, "starts at byte 1 of the data, leaving a hole; 0 is needed"},
      {"past_end", one(f, "[2]", "[0,8]", 4), F, "tensor 'x': ends at byte 8 of the data, the file has only 4"},
      {"huge_offsets", one("\"U8\"", "[1]", "[18446744073709551614,18446744073709551615]", 1), F,
       "starts at byte 18446744073709551614"},
      {"trailing", one(f, "[1]", "[0,4]", 5), F, "1 bytes follow the last tensor"},
      {"trailing_no_tensor", safetensors("{}", "a"), F, "1 bytes follow the last tensor"},
      {"size_differs", one(f, "[2]", "[0,4]", 4), F, "data_offsets span 4 bytes, its shape and type need 8"},
      {"metadata_number", header_only(R"({"__metadata__":{"a":1}})"), F,
       "metadata 'a' holds the number 1, a string is needed"},
      {"metadata_object", header_only(R"({"__metadata__":{"a":{}}})"), F, "metadata 'a' holds an object"},
      {"metadata_list", header_only(R"({"__metadata__":[]})"), F, "holds a list, an object is needed"},
      {"metadata_twice", header_only(R"({"__metadata__":{},"__metadata__":{}})"), F, "'__metadata__' occurs twice"},
      {"metadata_key_twice", header_only(R"({"__metadata__":{"a":"","a":""}})"), F, "metadata key 'a' occurs twice"},
      {"many_tensors", header_only(many), F, "more than 200000 tensors"},
      {"empty_name", header_only("{\"\":" + good + "}"), F, "a tensor has an empty name"},
      {"long_name", header_only("{\"" + std::string(1'000'000, 'n') + "\":" + good + "}"), F,
       "has 1000000 bytes, at most 4096"},
      {"name_of_control_characters", header_only(R"({"a\nb":1})"), F, "tensor 'a\\x0ab' holds"},
      {"git_lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", F, "git-lfs pointer"},
      {"html", "<!DOCTYPE html><html></html>", F, "is an HTML"},
      {"html_indented", "\n\n   <html><body>404</body></html>", F, "is an HTML"},
      {"json", R"({"a": 1, "bcdefg": 2})", F, "is a JSON text"},
      {"pickle_zip", std::string("PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 18), U,
       "Python pickle"},
      {"pickle_raw", std::string("\x80\x02}q\x00(X\x01\x00\x00\x00", 10), U, "Python pickle"},
      {"pickle_raw_short", std::string("\x80\x02}.", 4), U, "Python pickle"},
  };
  return cases;
}

TEST(Safetensors, EveryBadFileIsRefusedWithItsNameAndTheRule) {
  const TempFolder folder;
  for (const BadCase& bad : bad_files()) {
    SCOPED_TRACE(bad.name);
    const std::string path = folder.write("bad.safetensors", bad.bytes);
    const std::clock_t start = std::clock();  // time of this process, whatever else runs
    expect_error(bad.code, bad.words, [&] { open_tensors(path, FileAccess::map); });
    expect_error(bad.code, path + ": ", [&] { open_tensors(path, FileAccess::copy); });
    EXPECT_LT(std::clock() - start, 10 * CLOCKS_PER_SEC);  // far less but under sanitizers
  }
}

TEST(Safetensors, WhatIsNoRegularFileIsRefusedAtOnce) {
  const TempFolder folder;
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_error(ErrorCode::io, fifo + ": is no regular file", [&] { open_tensors(fifo); });
  expect_error(ErrorCode::io, "is a folder", [&] { open_tensors(folder.path()); });
  expect_error(ErrorCode::io, "is no regular file", [] { open_tensors("/dev/zero"); });
  expect_error(ErrorCode::io, "No such file", [&] { open_tensors(folder / "absent.safetensors"); });
  expect_error(ErrorCode::io, "cannot be opened", [] { open_tensors(""); });
  expect_error(ErrorCode::io, "zero byte", [] { open_tensors(std::string("a\0b", 3)); });
  expect_error(ErrorCode::io, "cannot be opened", [&] { open_tensors(folder / std::string(5000, 'a')); });
}

TEST(Safetensors, AHeaderLengthThatLooksLikeAnotherMagicIsStillRead) {
  // 0x0280 = 640 bytes of header are the first two bytes of a raw pickle.
  const TempFolder folder;
  const std::string path = folder.write("t", safetensors("{}" + std::string(638, ' ')));
  EXPECT_TRUE(open_tensors(path)->entries().empty());
}

}  // namespace
}  // namespace ltxv::test
