// Every cut and every flipped bit of a good file: refused, or read as something consistent. Nothing may crash.
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/temp_folder.h"
#include "weights/file_builder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {
namespace {

const char* const kHeader =
    R"({"__metadata__":{"format":"pt"},"block.0.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("block.0.bias":{"dtype":"BF16","shape":[5],"data_offsets":[24,34]},"scale":{"dtype":"I64","shape":[],"data_offsets":[34,42]}}  )";

std::shared_ptr<const TensorSource> opened(const std::string& path) {
  try {
    return open_tensors(path, FileAccess::copy);
  } catch (const Error&) {
    return nullptr;
  }
}

TEST(SafetensorsDamage, EveryTruncationIsRefused) {
  const TempFolder folder;
  const std::string good = safetensors(kHeader, counting(42));
  ASSERT_NE(opened(folder.write("good", good)), nullptr);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(opened(folder.write("cut", good.substr(0, size))), nullptr) << "cut to " << size << " bytes";
  }
}

TEST(SafetensorsDamage, EveryFlippedBitIsRefusedOrHarmless) {
  const TempFolder folder;
  const std::string good = safetensors(kHeader, counting(42));
  const size_t data_start = good.size() - 42;
  const auto reference = opened(folder.write("good", good));
  bool in_string = false;
  int accepted = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    if (at >= 8 && at < data_start && good[at] == '"') in_string = !in_string;
    // Only the text of names and metadata, and the data, have nothing to check them against.
    const bool free_text = at >= data_start || (in_string && good[at] != '"');
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      const auto source = opened(folder.write("flipped", bad));
      if (source == nullptr) continue;
      ++accepted;
      EXPECT_TRUE(free_text) << "byte " << at << " bit " << bit << " of the structure was accepted";
      EXPECT_LE(source->entries().size(), reference->entries().size());
      uint64_t total = 0;
      for (const TensorEntry& entry : source->entries()) {
        int64_t bytes = stored_type_size(entry.type);
        for (const int64_t size : entry.shape) bytes *= size;
        EXPECT_EQ(entry.byte_count, static_cast<uint64_t>(bytes));
        total += entry.byte_count;
      }
      EXPECT_EQ(total, 42u);
    }
  }
  EXPECT_GE(accepted, 42 * 8);  // all flips in the data pass: the walk above did see open files
}

}  // namespace
}  // namespace ltxv::test
