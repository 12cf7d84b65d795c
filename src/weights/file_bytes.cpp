#include "weights/file_bytes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/hidden_parts.h"

namespace ltxv {
namespace {

// Linux moves at most 0x7ffff000 bytes a call; smaller pieces also keep a signal's delay short.
constexpr uint64_t kPieceBytes = uint64_t{1} << 28;

std::string reason(int error_number) { return std::generic_category().message(error_number); }

[[noreturn]] void fail(const std::string& shown, std::string_view what, int error_number) {
  throw IoError(text(printable(shown), ": ", what, ": ", reason(error_number)));
}

// A hidden output file that vanishes unless it was renamed.
class PartFile {
 public:
  explicit PartFile(const std::string& path) : path_(path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
      throw IoError(text(printable(path), ": cannot be written: ",
                         S_ISDIR(status.st_mode) ? "it is a folder" : "it is no regular file"));
    }
    const size_t slash = path.rfind('/');
    folder_ = slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
    const std::string stem = hidden_stem(path.substr(folder_.size()));
    remove_abandoned_parts(folder_, stem);
    static std::atomic<unsigned> counter{0};
    for (int attempt = 0; attempt < 100 && descriptor_ < 0; ++attempt) {
      part_ = text(folder_, stem, ::getpid(), "-", counter.fetch_add(1), ".part");
      descriptor_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) break;
      if (descriptor_ < 0 || !lock_part(descriptor_) || part_is_there(descriptor_, part_)) continue;
      ::close(descriptor_);
      descriptor_ = -1;
    }
    if (descriptor_ < 0) fail(path, "cannot be written", errno);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!renamed_) ::unlink(part_.c_str());
  }

  void write(const void* data, uint64_t count) {
    const char* from = static_cast<const char*>(data);
    while (count > 0) {
      const ssize_t done = ::write(descriptor_, from, std::min(count, kPieceBytes));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail(path_, "cannot be written", errno);
      from += done;
      count -= static_cast<uint64_t>(done);
    }
  }

  void finish() {
    if (::fsync(descriptor_) != 0) fail(path_, "cannot be written", errno);
    // Closed behind the rename: without its lock the file would be an abandoned one to another writer.
    if (::rename(part_.c_str(), path_.c_str()) != 0) fail(path_, "cannot be renamed into place", errno);
    renamed_ = true;
    ::close(std::exchange(descriptor_, -1));
    // The rename itself must survive a power cut; a file system that cannot sync a folder is no reason to fail.
    const int folder = ::open(folder_.empty() ? "." : folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
      (void)::fsync(folder);
      ::close(folder);
    }
  }

 private:
  std::string path_, folder_, part_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

}  // namespace

std::string printable(std::string_view text_in) {
  constexpr size_t kLimit = 200;
  static const char* const kHex = "0123456789abcdef";
  std::string out;
  for (const char c : text_in.substr(0, kLimit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  if (text_in.size() > kLimit) out += "...";
  return out;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (const int64_t size : shape) out.append(out.size() > 1 ? "," : "").append(std::to_string(size));
  return out + "]";
}

InputFile::InputFile(const std::string& path, std::string shown) : shown_(std::move(shown)) {
  if (path.find('\0') != std::string::npos) throw IoError(text(printable(shown_), ": the path holds a zero byte"));
  do {
    // Without O_NONBLOCK a pipe without a writer would hang the open.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) fail(shown_, "cannot be opened", errno);
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  const int error_number = errno;
  ::close(descriptor_);
  descriptor_ = -1;
  if (!known) fail(shown_, "cannot be examined", error_number);
  throw IoError(
      text(printable(shown_), S_ISDIR(status.st_mode) ? ": is a folder, a file is needed" : ": is no regular file"));
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(uint64_t offset, void* into, uint64_t count) const {
  char* to = static_cast<char*>(into);
  while (count > 0) {
    const ssize_t done = ::pread(descriptor_, to, std::min(count, kPieceBytes), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(shown_, "cannot be read", errno);
    if (done == 0) {
      throw IoError(text(printable(shown_), ": ended at byte ", offset, " while being read, it was ", size_,
                         " bytes when opened"));
    }
    to += done;
    offset += static_cast<uint64_t>(done);
    count -= static_cast<uint64_t>(done);
  }
}

std::shared_ptr<const std::byte> InputFile::contents(uint64_t offset, FileAccess access) const {
  const uint64_t count = size_ - offset;
  if (count == 0) return std::make_shared<const std::byte>();
  if (access == FileAccess::copy) {
    constexpr std::align_val_t kAlignment{64};  // a cache line, and what vector code likes best
    void* const memory = ::operator new(count, kAlignment, std::nothrow);
    if (memory == nullptr) throw OutOfMemory(text(printable(shown_), ": no memory for ", count, " bytes"));
    std::shared_ptr<const std::byte> copy(static_cast<const std::byte*>(memory), [](const std::byte* bytes) {
      ::operator delete(const_cast<std::byte*>(bytes), kAlignment);
    });
    read(offset, memory, count);
    return copy;
  }
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t start = offset / page * page;
  const uint64_t length = size_ - start;
  // Private and writable, so that an accidental in-place operation on a weight changes this process's copy of a page
  // instead of killing it. MAP_NORESERVE: otherwise Linux refuses a file larger than memory, for the sake of writes
  // that never come.
  void* mapping = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor_,
                         static_cast<off_t>(start));
  if (mapping == MAP_FAILED) {
    mapping = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE, descriptor_, static_cast<off_t>(start));
  }
  if (mapping == MAP_FAILED) {
    if (errno == ENOMEM) throw OutOfMemory(text(printable(shown_), ": no address space for ", length, " bytes"));
    fail(shown_, "cannot be mapped", errno);
  }
  return {static_cast<const std::byte*>(mapping) + (offset - start),
          [mapping, length](const std::byte*) { ::munmap(mapping, length); }};
}

void let_go_of_pages(const void* data, uint64_t byte_count) {
  if (byte_count == 0) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  // Pages at the ends may be shared with neighbours, which come back as these do.
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + byte_count + page - 1) / page * page;
  // A refusal costs memory, not correctness.
  (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void write_atomically(const std::string& path,
                      const std::function<void(const std::function<void(const void*, uint64_t)>& write)>& fill) {
  if (path.empty() || path.find('\0') != std::string::npos || path.back() == '/') {
    throw IoError(text("'", printable(path), "': is no file name to write to"));
  }
  PartFile part(path);
  fill([&part](const void* data, uint64_t count) { part.write(data, count); });
  part.finish();
}

}  // namespace ltxv
