// GGUF files: what is read, and what is said when one is wrong.
#include "weights/gguf.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_folder.h"
#include "weights/gguf_builder.h"

namespace ltxv::test {
namespace {

using namespace gguf;

TEST(Gguf, NamesShapesTypesAndMetadata) {
  const TempFolder folder;
  const auto source = open_tensors(folder.write("model.gguf", good()));  // known by its first bytes, not by its name
  ASSERT_EQ(source->entries().size(), 2u);
  const TensorEntry &a = source->entries()[0], &b = source->entries()[1];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.type, StoredType::f32);
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(a.byte_count, 24u);
  EXPECT_EQ(b.type, StoredType::q8_0);
  EXPECT_EQ(b.shape, (std::vector<int64_t>{1, 32}));
  EXPECT_EQ(b.byte_count, 34u);
  EXPECT_EQ(b.data - a.data, 32);
  EXPECT_EQ(static_cast<int>(a.data[0]), 1);
  EXPECT_EQ(source->metadata().at("general.architecture"), "ltxv");
  EXPECT_EQ(source->metadata().at("n"), "7");
  EXPECT_EQ(source->metadata().count("list"), 0u);
}

TEST(Gguf, ReadsWhatTheGgufPackageWrites) {
  const auto source = open_tensors(golden_path("narrow/transformer.gguf"));
  EXPECT_EQ(source->metadata().at("general.architecture"), "ltxv");
  const TensorEntry* to_q = source->find("transformer_blocks.0.attn1.to_q.weight");
  ASSERT_NE(to_q, nullptr);
  EXPECT_EQ(to_q->type, StoredType::q8_0);
  EXPECT_EQ(source->find("patchify_proj.weight")->shape, (std::vector<int64_t>{32, 8}));
  EXPECT_EQ(source->find("scale_shift_table")->type, StoredType::f32);
  EXPECT_EQ(source->find("adaln_single.linear.weight")->type, StoredType::bf16);
}

TEST(Gguf, EveryTruncationIsRefused) {
  const TempFolder folder;
  const std::string whole = good();
  EXPECT_NO_THROW(open_tensors(folder.write("whole", whole)));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(open_tensors(folder.write("cut", whole.substr(0, size))), Error) << "cut to " << size << " bytes";
  }
}

TEST(Gguf, EveryFlippedBitIsRefusedOrHarmless) {
  const TempFolder folder;
  const std::string whole = good();
  for (size_t at = 0; at < whole.size() - 66; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = whole;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      std::shared_ptr<const TensorSource> source;
      try {
        source = open_tensors(folder.write("flipped", bad), FileAccess::copy);
      } catch (const Error&) {
        continue;
      }
      for (const TensorEntry& entry : source->entries()) {
        int64_t elements = 1;
        for (const int64_t size : entry.shape) elements *= size;
        const StoredBlock block = stored_block(entry.type);
        EXPECT_EQ(entry.byte_count, static_cast<uint64_t>(elements / block.elements * block.bytes)) << at << " " << bit;
        EXPECT_LE(entry.byte_count, 66u);
      }
    }
  }
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* words;
  ErrorCode code = ErrorCode::bad_weights;
};

class BadGguf : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsRefusedInOneLine) {
  const TempFolder folder;
  const std::string path = folder.write(GetParam().name, GetParam().bytes);
  for (const FileAccess access : {FileAccess::copy, FileAccess::map}) {
    expect_error(GetParam().code, path + ": ", [&] { open_tensors(path, access); });
    expect_error(GetParam().code, GetParam().words, [&] { open_tensors(path, access); });
  }
}

const std::string kMost(8, '\xff');

INSTANTIATE_TEST_SUITE_P(
    All, BadGguf,
    ::testing::Values(
        BadFile{"empty_after_magic", "GGUF", "cut off"},
        BadFile{"version_0", file(0, 0, "", "", 0), "version 0", ErrorCode::unsupported},
        BadFile{"version_1", file(0, 0, "", "", 1), "version 1", ErrorCode::unsupported},
        BadFile{"version_4", file(0, 0, "", "", 4), "version 4", ErrorCode::unsupported},
        BadFile{"big_endian", file(0, 0, "", "", 0x03000000), "big-endian", ErrorCode::unsupported},
        BadFile{"absurd_tensors", "GGUF" + u32(3) + kMost + u64(0), "18446744073709551615 tensors"},
        BadFile{"absurd_keys", "GGUF" + u32(3) + u64(0) + kMost, "18446744073709551615 metadata keys"},
        BadFile{"more_tensors_than_bytes", "GGUF" + u32(3) + u64(1000) + u64(0) + std::string(100, 'x'), "fit into the file"},
        BadFile{"absurd_key_length", file(0, 1, kMost + std::string(20, 'x'), ""), "is 18446744073709551615 bytes long"},
        BadFile{"empty_key", file(0, 1, key("", kUint32, u32(1)) + "pad", ""), "key is empty"},
        BadFile{"key_twice", file(0, 2, key("k", kUint32, u32(1)) + key("k", kUint32, u32(2)), ""), "'k' occurs twice"},
        BadFile{"kind_13", file(0, 1, key("k", 13, u64(0)), ""), "unknown kind 13"},
        BadFile{"list_of_lists", file(0, 1, key("k", kList, u32(kList) + u64(0)), ""), "list of unknown kind 9"},
        BadFile{"absurd_list", file(0, 1, key("k", kList, u32(10) + u64(uint64_t{1} << 61)), ""), "more than fit"},
        BadFile{"absurd_list_of_strings", file(0, 1, key("k", kList, u32(kString) + kMost), ""), "more than fit"},
        BadFile{"string_in_list_too_long", file(0, 1, key("k", kList, u32(kString) + u64(1) + kMost), ""), "cut off"},
        BadFile{"absurd_string", file(0, 1, key("k", kString, u64(uint64_t{1} << 40)), ""), "bytes long"},
        BadFile{"alignment_0", file(0, 1, key("general.alignment", kUint32, u32(0)), ""), "power of two"},
        BadFile{"alignment_13", file(0, 1, key("general.alignment", kUint32, u32(13)), ""), "power of two"},
        BadFile{"alignment_2_31", file(0, 1, key("general.alignment", kUint32, u32(0x80000000u)), ""), "power of two"},
        BadFile{"alignment_of_another_kind", file(0, 1, key("general.alignment", kInt32, u32(32)), ""), "has the kind 5"},
        BadFile{"five_axes", file(1, 0, tensor("t", u64(1) + u64(1) + u64(1) + u64(1) + u64(1), 0, 0), "1234"), "5 axes"},
        BadFile{"absurd_axes", file(1, 0, string("t") + u32(0xffffffffu) + std::string(40, '\1'), ""), "4294967295 axes"},
        BadFile{"axis_of_zero", file(1, 0, tensor("t", u64(0), 0, 0), "1234"), "length 0"},
        BadFile{"product_wraps", file(1, 0, tensor("t", u64(uint64_t{1} << 32) + u64(uint64_t{1} << 32), 0, 0), "1234"), "64 bits"},
        BadFile{"bytes_wrap", file(1, 0, tensor("t", u64(uint64_t{1} << 62), 0, 0), "1234"), "64 bits"},
        BadFile{"negative_axis", file(1, 0, tensor("t", kMost, 0, 0), "1234"), "64 bits"},
        BadFile{"half_a_block", file(1, 0, tensor("t", u64(48), 8, 0), std::string(64, '\1')), "blocks of 32"},
        BadFile{"unknown_type", file(1, 0, tensor("t", u64(1), 0xffffffffu, 0), "1234"), "unknown type 4294967295"},
        BadFile{"type_not_read", file(1, 0, tensor("t", u64(256), 20, 0), std::string(256, '\1')), "IQ4_NL", ErrorCode::unsupported},
        BadFile{"misaligned", file(1, 0, tensor("t", u64(1), 0, 4), "12345678"), "multiple of 32"},
        BadFile{"past_the_end", file(1, 0, tensor("t", u64(100), 0, 0), "1234"), "cut off"},
        BadFile{"far_past_the_end", file(1, 0, tensor("t", u64(1), 0, ~uint64_t{31}), "1234"), "leaving a hole"},
        BadFile{"overlap", file(2, 0, tensor("t", u64(1), 0, 0) + tensor("u", u64(1), 0, 0), "1234"), "inside the tensor"},
        BadFile{"hole", file(2, 0, tensor("t", u64(1), 0, 0) + tensor("u", u64(1), 0, 64), std::string(68, '\1')), "hole"},
        BadFile{"name_twice", file(2, 0, tensor("t", u64(1), 0, 0) + tensor("t", u64(1), 0, 32), std::string(36, '\1')), "'t' occurs twice"},
        BadFile{"empty_name", file(1, 0, tensor("", u64(1), 0, 0) + "pad", "1234"), "empty name"},
        BadFile{"trailing_bytes", file(1, 0, tensor("t", u64(1), 0, 0), std::string(100, '\1')), "68 bytes follow"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ltxv::test
