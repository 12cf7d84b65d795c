#pragma once
// Files that are complete or absent: written under a hidden name beside the target (base/hidden_parts.h), renamed at the end, removed
// otherwise.
#include <cstdint>
#include <string>
#include <vector>

namespace ltxv::media {

/// "." when the path names none.
std::string folder_of(const std::string& path);

/// The system's words for an errno value, lower case.
std::string system_message(int error_number);

/// One file being written. Not for use from two threads at once.
class OutputFile {
 public:
  /// Creates the hidden file. Errors: IoError naming `target`.
  explicit OutputFile(const std::string& target);
  /// Removes the hidden file unless commit() was called.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& target() const { return target_; }
  const std::string& hidden_path() const { return hidden_; }
  int64_t size() const { return size_; }
  /// The first errno of a failed write, 0 so far none. Kept because muxers lose or overwrite it on the way up.
  int error_number() const { return error_number_; }

  /// Writes all bytes at `offset`. Returns false and keeps errno when the system refuses: for callbacks, which must not
  /// throw.
  bool try_write(const void* bytes, size_t count, int64_t offset) noexcept;
  /// As try_write. Errors: IoError "target: no space left on device".
  void write(const void* bytes, size_t count, int64_t offset);
  void append(const std::vector<uint8_t>& bytes) { write(bytes.data(), bytes.size(), size_); }
  /// Reads up to `count` bytes at `offset`; returns how many. Errors: IoError.
  size_t read(void* bytes, size_t count, int64_t offset) const;

  /// Flushes to the device, closes, renames to the target. Errors: IoError; the hidden file is gone then too.
  void commit();
  /// Removes the hidden file now.
  void discard() noexcept;

 private:
  [[noreturn]] void fail(int error_number) const;

  std::string target_;
  std::string hidden_;
  int descriptor_ = -1;
  int64_t size_ = 0;
  int error_number_ = 0;
};

/// A set of files that appear together: they are written into a hidden folder and renamed into its parent at the end.
class OutputFolder {
 public:
  /// `target` names the set in errors and in the hidden name (for a sequence, the pattern). Errors: IoError.
  explicit OutputFolder(const std::string& target);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  /// Writes one whole file that will appear at `path`, in the folder of the target. Errors: IoError naming `path`.
  void add(const std::string& path, const std::vector<uint8_t>& bytes);
  /// Renames all files. When one cannot be renamed, those already renamed are removed again. Errors: IoError.
  void commit();
  void discard() noexcept;

 private:
  std::string target_;
  std::string hidden_;
  int descriptor_ = -1;
  std::vector<std::string> paths_;
};

}  // namespace ltxv::media
