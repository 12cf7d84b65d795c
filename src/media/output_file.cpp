#include "media/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/hidden_parts.h"

namespace ltxv::media {
namespace {

constexpr int kAttempts = 100;

std::string name_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string next_hidden_path(const std::string& target) {
  static std::atomic<uint64_t> counter{0};
  return text(folder_of(target), "/", hidden_stem(name_of(target)), ::getpid(), "-", counter++, ".part");
}

void remove_abandoned(const std::string& target) { remove_abandoned_parts(folder_of(target), hidden_stem(name_of(target))); }

[[noreturn]] void fail_for(const std::string& path, int error_number) {
  throw IoError(text(path, ": ", system_message(error_number)));
}

/// Returns 0 or an errno value.
int write_all(int descriptor, const void* bytes, size_t count, int64_t offset) noexcept {
  const char* next = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::pwrite(descriptor, next, count, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return ENOSPC;
    next += written;
    offset += written;
    count -= static_cast<size_t>(written);
  }
  return 0;
}

}  // namespace

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string system_message(int error_number) {
  std::string message = std::generic_category().message(error_number);
  if (!message.empty() && message[0] >= 'A' && message[0] <= 'Z')
    message[0] = static_cast<char>(message[0] - 'A' + 'a');
  return message;
}

OutputFile::OutputFile(const std::string& target) : target_(target) {
  remove_abandoned(target);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    hidden_ = next_hidden_path(target);
    descriptor_ = ::open(hidden_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno == EEXIST) continue;
    if (descriptor_ < 0) fail(errno);
    // A file system without locks (some network mounts) only loses the clean-up after a kill.
    if (!lock_part(descriptor_) || part_is_there(descriptor_, hidden_)) return;
    ::close(descriptor_);
    descriptor_ = -1;
  }
  throw IoError(text(target, ": no free name for a temporary file beside it"));
}

OutputFile::~OutputFile() { discard(); }

void OutputFile::fail(int error_number) const { fail_for(target_, error_number); }

bool OutputFile::try_write(const void* bytes, size_t count, int64_t offset) noexcept {
  if (error_number_ != 0) return false;
  error_number_ = descriptor_ < 0 ? EBADF : write_all(descriptor_, bytes, count, offset);
  if (error_number_ != 0) return false;
  size_ = std::max(size_, offset + static_cast<int64_t>(count));
  return true;
}

void OutputFile::write(const void* bytes, size_t count, int64_t offset) {
  if (!try_write(bytes, count, offset)) fail(error_number_);
}

size_t OutputFile::read(void* bytes, size_t count, int64_t offset) const {
  for (;;) {
    const ssize_t got = ::pread(descriptor_, bytes, count, offset);
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) fail(errno);
  }
}

void OutputFile::commit() {
  int failed = error_number_ != 0 ? error_number_ : 0;
  // A disk quota or a network file system may refuse as late as here; file systems without fsync say EINVAL or ENOTSUP.
  if (failed == 0 && ::fsync(descriptor_) != 0 && errno != EINVAL && errno != ENOTSUP) failed = errno;
  if (failed == 0 && ::rename(hidden_.c_str(), target_.c_str()) != 0) failed = errno;
  if (failed != 0) {
    discard();
    fail(failed);
  }
  ::close(descriptor_);
  descriptor_ = -1;
}

void OutputFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::unlink(hidden_.c_str());
  ::close(descriptor_);
  descriptor_ = -1;
}

OutputFolder::OutputFolder(const std::string& target) : target_(target) {
  remove_abandoned(target);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    hidden_ = next_hidden_path(target);
    if (::mkdir(hidden_.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      fail_for(target_, errno);
    }
    descriptor_ = ::open(hidden_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ >= 0 && (!lock_part(descriptor_) || part_is_there(descriptor_, hidden_))) return;
    discard();
  }
  throw IoError(text(target, ": no free name for a temporary folder beside it"));
}

OutputFolder::~OutputFolder() { discard(); }

void OutputFolder::add(const std::string& path, const std::vector<uint8_t>& bytes) {
  const std::string hidden = hidden_ + "/" + name_of(path);
  const int descriptor = ::open(hidden.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) fail_for(path, errno);
  int failed = write_all(descriptor, bytes.data(), bytes.size(), 0);
  // No fsync for each of a hundred files; close still reports what a network file system refuses.
  if (::close(descriptor) != 0 && failed == 0 && errno != EINTR) failed = errno;
  if (failed != 0) fail_for(path, failed);
  paths_.push_back(path);
}

void OutputFolder::commit() {
  for (size_t i = 0; i < paths_.size(); ++i) {
    if (::rename((hidden_ + "/" + name_of(paths_[i])).c_str(), paths_[i].c_str()) == 0) continue;
    const int failed = errno;
    for (size_t renamed = 0; renamed < i; ++renamed) ::unlink(paths_[renamed].c_str());
    discard();
    fail_for(paths_[i], failed);
  }
  discard();
}

void OutputFolder::discard() noexcept {
  if (hidden_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(hidden_, ignored);
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  hidden_.clear();
}

}  // namespace ltxv::media
