#pragma once
// Folders that are complete or absent.
#include <atomic>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/hidden_parts.h"
#include "weights/file_bytes.h"

namespace ltxv {

/// A folder made beside its place and renamed into it; gone when something throws, and at the next try when the process was killed.
class PartFolder {
 public:
  /// Errors: IoError when `path` is there and not an empty folder, or nothing can be written beside it.
  explicit PartFolder(const std::string& path) : path_(std::filesystem::path(path).lexically_normal()) {
    namespace fs = std::filesystem;
    if (!path_.has_filename()) path_ = path_.parent_path();
    std::error_code failed;
    LTXV_REQUIRE(IoError, !fs::exists(path_) || (fs::is_directory(path_) && fs::is_empty(path_, failed)), printable(path),
                 ": is already there and not an empty folder");
    const std::string stem = hidden_stem(path_.filename().string());
    remove_abandoned_parts(path_.parent_path().string(), stem);
    static std::atomic<unsigned> counter{0};
    for (int attempt = 0; attempt < 100; ++attempt) {
      part_ = path_.parent_path() / text(stem, ::getpid(), "-", counter.fetch_add(1), ".part");
      LTXV_REQUIRE(IoError, fs::create_directory(part_, failed) || !failed, printable(path), ": cannot be written: ", failed.message());
      descriptor_ = ::open(part_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (descriptor_ >= 0 && (!lock_part(descriptor_) || part_is_there(descriptor_, part_.string()))) return;
      discard();
    }
    throw IoError(text(printable(path), ": no free name for a temporary folder beside it"));
  }
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;
  ~PartFolder() { discard(); }

  /// A folder inside, made if need be; "" is the folder itself. Errors: IoError.
  std::string folder(const std::string& name) const {
    std::error_code failed;
    const auto path = name.empty() ? part_ : part_ / name;
    std::filesystem::create_directories(path, failed);
    LTXV_REQUIRE(IoError, !failed, printable(path.string()), ": cannot be written: ", failed.message());
    return path.string();
  }
  /// Errors: IoError.
  void finish() {
    std::error_code failed;
    std::filesystem::rename(part_, path_, failed);  // over an empty folder, too
    LTXV_REQUIRE(IoError, !failed, printable(path_.string()), ": cannot be renamed into place: ", failed.message());
    part_.clear();
  }

 private:
  void discard() noexcept {
    std::error_code ignored;
    if (!part_.empty()) std::filesystem::remove_all(part_, ignored);
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

  std::filesystem::path path_, part_;
  int descriptor_ = -1;
};

}  // namespace ltxv
