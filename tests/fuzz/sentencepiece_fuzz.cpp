#include "base/error.h"
#include "fuzz/fuzz.h"
#include "text/model_proto.h"
#include "text/tokenizer.h"

namespace ltxv::test {

std::vector<std::string> fuzz_seeds() {
  using namespace proto;
  const std::string pieces = piece("<pad>", 0, 3) + piece("</s>", 0, 3) + piece("<unk>", 0, 2) +
                             piece("\xe2\x96\x81", -2, 1) + piece("a", -1, 1) + piece("ab", -3, 1) +
                             piece(
                                 "\xe2\x96\x81"
                                 "b",
                                 -4, 1);
  // "a" is written "ab", "b" is written "a": units of 256 to leave room for every byte.
  std::u32string units(512, U'\0');
  const auto leaf = [&units](uint32_t label, uint32_t children, uint32_t value) {
    units[label] = static_cast<char32_t>(label | 0x100u | (label ^ children) << 10);
    units[children] = static_cast<char32_t>(0x80000000u | value);
  };
  leaf('a', 0x100, 0);
  leaf('b', 0x180, 3);
  return {pieces, pieces + normaliser(units, std::string_view("ab\0a\0", 5)),
          pieces + bytes_field(2, varint_field(3, 1))};
}

}  // namespace ltxv::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ltxv;
  const test::MemoryFile file({reinterpret_cast<const char*>(data), size});
  if (!file.whole()) return 0;
  try {
    const Tokenizer tokenizer = Tokenizer::load(file.path());
    for (const char* prompt :
         {"", "ab  ba aaaaaaaaaaaaaaaa b", "</s>a<extra_id_0> \xe4\xbb\x8a\xf0\x9f\xa6\x8a e\xcc\x81"}) {
      for (const int64_t id : tokenizer.encode(prompt, 16).ids) FUZZ_CHECK(id >= 0 && id < tokenizer.id_limit());
    }
  } catch (const Error& error) {
    FUZZ_CHECK(error.code() == ErrorCode::bad_weights || error.code() == ErrorCode::unsupported);
  }
  return 0;
}
