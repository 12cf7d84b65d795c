#include "base/error.h"
#include "fuzz/fuzz.h"
#include "weights/dequantise.h"
#include "weights/gguf_builder.h"
#include "weights/tensor_source.h"

namespace ltxv::test {

std::vector<std::string> fuzz_seeds() {
  using namespace gguf;
  std::vector<std::string> seeds = {good(), file(0, 0, "", "")};
  for (const uint32_t type : {2, 6, 8, 10, 11, 12, 14, 20, 30})
    seeds.push_back(file(1, 1, key("general.alignment", kUint32, u32(8)) + tensor("t", u64(256), type, 0), std::string(512, '\1'), 2, 8));
  return seeds;
}

}  // namespace ltxv::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ltxv;
  const std::string bytes = "GGUF" + std::string(reinterpret_cast<const char*>(data), size).substr(std::min<size_t>(size, 4));
  const test::MemoryFile file(bytes);
  if (!file.whole()) return 0;
  try {
    const auto source = open_tensors(file.path(), FileAccess::copy);
    uint64_t total = 0;
    for (const TensorEntry& entry : source->entries()) {
      total += entry.byte_count;
      FUZZ_CHECK(source->find(entry.name) == &entry);
      if (!is_narrow_type(entry.type)) continue;
      const StoredBlock block = stored_block(entry.type);
      std::vector<float> wide(entry.byte_count / block.bytes * block.elements);
      dequantise(entry.type, entry.data, static_cast<int64_t>(wide.size()), wide.data());
    }
    FUZZ_CHECK(total <= bytes.size());
  } catch (const Error& error) {
    FUZZ_CHECK(error.code() == ErrorCode::bad_weights || error.code() == ErrorCode::unsupported);
  }
  return 0;
}
