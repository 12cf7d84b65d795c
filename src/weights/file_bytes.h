#pragma once
// Files as bytes: the one place of this folder that talks to the operating system.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "weights/tensor_source.h"

namespace ltxv {

/// `text` fit for one line of a message: control characters as \xNN, cut after 200 bytes.
std::string printable(std::string_view text);
/// "[2,3]", for messages.
std::string shape_text(const std::vector<int64_t>& shape);

/// An open regular file, read-only. Not copyable; closed at the end of its life (a mapping outlives it).
class InputFile {
 public:
  /// `shown` is the name used in messages, `path` the one opened.
  /// Errors: IoError (absent, no permission, a directory, a pipe, a device).
  InputFile(const std::string& path, std::string shown);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  uint64_t size() const { return size_; }
  const std::string& shown() const { return shown_; }
  /// Errors: IoError, also when the file ends early because another process cut it.
  void read(uint64_t offset, void* into, uint64_t count) const;

  /// The bytes [offset, size) in memory; an aliasing pointer that owns the mapping or the copy.
  /// Errors: IoError, OutOfMemory.
  std::shared_ptr<const std::byte> contents(uint64_t offset, FileAccess access) const;

 private:
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::string shown_;
};

/// Gives back the memory under bytes of a mapped file that are not needed for now: the next read fetches them from the file (in most
/// cases from the system's cache of it). Only for what InputFile::contents mapped; anything else would lose its values. Safe while
/// other threads read.
void let_go_of_pages(const void* data, uint64_t byte_count);

/// Writes a file completely or not at all: `fill` writes to a hidden file beside the target, which is synced and
/// renamed. An existing regular file is replaced. Errors: IoError naming the path and the reason; whatever `fill`
/// throws.
void write_atomically(const std::string& path,
                      const std::function<void(const std::function<void(const void*, uint64_t)>& write)>& fill);

}  // namespace ltxv
