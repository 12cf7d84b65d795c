#include "base/error.h"
#include "fuzz/fuzz.h"
#include "weights/file_builder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {

std::vector<std::string> fuzz_seeds() {
  return {
      safetensors("{}"),
      safetensors(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("a":{"dtype":"U8","shape":[2,2],"data_offsets":[8,12]}})",
                  counting(12)),
      safetensors(
          R"({"s":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"e":{"dtype":"I64","shape":[0,3],"data_offsets":[2,2]}}  )",
          counting(2)),
  };
}

}  // namespace ltxv::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ltxv;
  const test::MemoryFile file({reinterpret_cast<const char*>(data), size});
  if (!file.whole()) return 0;
  for (const FileAccess access : {FileAccess::copy, FileAccess::map}) {
    try {
      const auto source = open_tensors(file.path(), access);
      uint64_t total = 0, sum = 0;
      for (const TensorEntry& entry : source->entries()) {
        FUZZ_CHECK(source->find(entry.name) == &entry);
        for (uint64_t i = 0; i < entry.byte_count; ++i) sum += static_cast<uint64_t>(entry.data[i]);
        total += entry.byte_count;
      }
      FUZZ_CHECK(total + 10 <= size && sum <= 255 * total);
    } catch (const Error& error) {
      FUZZ_CHECK(error.code() == ErrorCode::bad_weights || error.code() == ErrorCode::unsupported);
    }
  }
  return 0;
}
