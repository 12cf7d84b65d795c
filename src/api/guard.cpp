#include "api/guard.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <new>
#include <string_view>
#include <system_error>

#include "base/tensor.h"

namespace ltxv::api {
namespace {

/// Bytes in front of `message` in ltxv_error, and the size of its first version.
constexpr size_t kMessageOffset = offsetof(ltxv_error, message);
constexpr uint32_t kFirstErrorSize = 512;
static_assert(sizeof(ltxv_error) >= kFirstErrorSize);

ltxv_status fill(ltxv_error* error, ltxv_status status, std::string_view message) noexcept {
  if (error == nullptr) return status;
  size_t size = error->struct_size == 0 ? kFirstErrorSize : error->struct_size;
  size = std::min(size, sizeof(ltxv_error));
  if (size < kMessageOffset) return status;
  error->status = status;
  if (size == kMessageOffset) return status;
  size_t length = std::min(message.size(), size - kMessageOffset - 1);
  // Never cut inside a character: continuation bytes of UTF-8 are 10xxxxxx.
  if (length < message.size()) {
    while (length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0) == 0x80) --length;
  }
  for (size_t i = 0; i < length; ++i) error->message[i] = message[i] == '\n' ? ' ' : message[i];
  error->message[length] = '\0';
  return status;
}

/// The first line: LibTorch appends a C++ stack trace.
std::string_view first_line(std::string_view message) { return message.substr(0, message.find('\n')); }

bool is_out_of_memory(std::string_view message) {
  for (const char* sign : {"can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory"}) {
    if (message.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

// Process-wide on purpose: the hang this guards against belongs to the process, not to a handle.
std::atomic<pid_t>& owner() {
  static std::atomic<pid_t> pid{0};
  return pid;
}

}  // namespace

ltxv_status translate_current_exception(ltxv_error* error) noexcept {
  try {
    throw;
  } catch (const Error& e) {
    return fill(error, static_cast<ltxv_status>(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return fill(error, LTXV_OUT_OF_MEMORY, "out of host memory");
  } catch (const c10::OutOfMemoryError& e) {
    return fill(error, LTXV_OUT_OF_MEMORY, first_line(e.msg()));
  } catch (const c10::Error& e) {
    const std::string_view message = first_line(e.msg());
    return fill(error, is_out_of_memory(message) ? LTXV_OUT_OF_MEMORY : LTXV_INTERNAL, message);
  } catch (const std::exception& e) {
    const std::string_view message = first_line(e.what());
    return fill(error, is_out_of_memory(message) ? LTXV_OUT_OF_MEMORY : LTXV_INTERNAL, message);
  } catch (...) {
    return fill(error, LTXV_INTERNAL, "an exception of unknown type reached the C boundary");
  }
}

std::string utf8(const char* text, const char* name) {
  require(text, name);
  const std::string_view bytes = text;
  size_t i = 0;
  while (i < bytes.size()) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : (lead & 0xF0) == 0xE0       ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    bool good = length > 0 && i + length <= bytes.size();
    uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; good && k < length; ++k) {
      const auto next = static_cast<unsigned char>(bytes[i + k]);
      good = (next & 0xC0) == 0x80;
      code = code << 6 | (next & 0x3F);
    }
    // Overlong forms, surrogates and values past the last code point are not UTF-8.
    good = good && !(length == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) &&
           !(length == 4 && (code < 0x10000 || code > 0x10FFFF));
    LTXV_CHECK(good, name, " is not UTF-8: bad byte at offset ", i);
    i += length;
  }
  return std::string(bytes);
}

std::vector<std::string> path_list(const char* const* paths, int32_t count, const char* name) {
  LTXV_CHECK(count >= 0, name, ": count is ", count);
  LTXV_CHECK(count == 0 || paths != nullptr, name, " is NULL although its count is ", count);
  std::vector<std::string> list;
  for (int32_t i = 0; i < count; ++i) list.push_back(required_path(paths[i], name));
  return list;
}

std::string required_path(const char* path, const char* name) {
  require(path, name);
  LTXV_CHECK(*path != '\0', name, " is empty");
  return path;
}

void mark_process() {
  pid_t nobody = 0;
  owner().compare_exchange_strong(nobody, getpid());
}

bool is_forked_child() noexcept {
  const pid_t pid = owner().load();
  return pid != 0 && pid != getpid();
}

void check_process() {
  LTXV_REQUIRE(Unsupported, !is_forked_child(), "process ", owner().load(),
               " opened an engine and then forked this process, ", getpid(),
               ": the child cannot compute; open the engine after fork, or exec");
}

}  // namespace ltxv::api
