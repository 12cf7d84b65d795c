#pragma once
// What a fuzz target offers. With clang's -fsanitize=fuzzer the library drives it; else driver.cpp does, with any
// compiler.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Feeds one input to the parser; must return, whatever the input is.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace ltxv::test {

/// Good inputs that mutation starts from.
std::vector<std::string> fuzz_seeds();

/// A file in memory with a path of its own, for parsers that open files.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    whole_ = descriptor_ >= 0 && ::write(descriptor_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }
  bool whole() const { return whole_; }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
  bool whole_ = false;
};

}  // namespace ltxv::test

/// An invariant of accepted inputs; its failure is a finding.
#define FUZZ_CHECK(condition)           \
  do {                                  \
    if (!(condition)) __builtin_trap(); \
  } while (false)
