#pragma once
// The only try/catch of the C boundary: every function that can fail runs its body inside guarded().
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ltxv/ltxv.h"

namespace ltxv::api {

/// Turns the exception being handled into a status and fills `error` (may be NULL). Never throws.
ltxv_status translate_current_exception(ltxv_error* error) noexcept;

/// Runs `body` and returns LTXV_OK, the status it returned, or the status of what it threw.
template <class Body>
ltxv_status guarded(ltxv_error* error, Body&& body) noexcept {
  try {
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      return LTXV_OK;
    } else {
      return body();
    }
  } catch (...) {
    return translate_current_exception(error);
  }
}

/// Errors: InvalidArgument naming the argument.
template <class T>
T* require(T* pointer, const char* name) {
  LTXV_CHECK(pointer != nullptr, name, " is NULL");
  return pointer;
}

/// Checks an output handle and sets it to NULL, so that it is NULL after any failure.
template <class T>
void start_output(T** out) {
  *require(out, "out") = nullptr;
}

/// A string from a caller. Errors: InvalidArgument naming it (not UTF-8, with the offset of the first bad byte).
std::string utf8(const char* text, const char* name);
/// A path from a caller, NULL counting as empty: bytes, not checked.
inline std::string path_or_empty(const char* path) { return path ? path : ""; }
/// Errors: InvalidArgument (NULL or empty).
std::string required_path(const char* path, const char* name);

/// An array of paths. Errors: InvalidArgument naming it (NULL or a negative count, an empty path inside).
std::vector<std::string> path_list(const char* const* paths, int32_t count, const char* name);

/// OpenMP and LibTorch do not survive fork: a child that used them would wait forever.
/// The first call of `mark` records this process. Errors: Unsupported in a child of the recorded process.
void mark_process();
void check_process();
bool is_forked_child() noexcept;

}  // namespace ltxv::api
