#pragma once
// Typed errors. Every error carries one code of the C ABI (include/ltxv/ltxv.h) and one line of text: lower case, what was
// found, what is allowed, with the file, tensor or option named. Nothing in the library prints or aborts.
#include <cstdint>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>

namespace ltxv {

/// Values equal the LTXV_* status constants of the C ABI and are never reused.
enum class ErrorCode : int32_t {
  invalid_argument = -1,  ///< the caller asked for something impossible
  io = -2,                ///< a file could not be read or written
  bad_weights = -3,       ///< a model file is damaged, incomplete or inconsistent
  unsupported = -4,       ///< valid, but not something this build can do
  out_of_memory = -5,     ///< host or device memory ran out
  device = -6,            ///< the compute device failed or is absent
  cancelled = -7,         ///< the caller cancelled the run
  internal = -8,          ///< a defect of the library
  numeric = -9,           ///< NaN or Inf turned up in weights, latents or frames
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

template <ErrorCode kCode>
class ErrorOf : public Error {
 public:
  explicit ErrorOf(const std::string& message) : Error(kCode, message) {}
};

using InvalidArgument = ErrorOf<ErrorCode::invalid_argument>;
using IoError = ErrorOf<ErrorCode::io>;
using BadWeights = ErrorOf<ErrorCode::bad_weights>;
using Unsupported = ErrorOf<ErrorCode::unsupported>;
using OutOfMemory = ErrorOf<ErrorCode::out_of_memory>;
using DeviceError = ErrorOf<ErrorCode::device>;
using Cancelled = ErrorOf<ErrorCode::cancelled>;
using InternalError = ErrorOf<ErrorCode::internal>;
using NumericError = ErrorOf<ErrorCode::numeric>;

/// Streams all parts into one string: text("width is ", w, ", a multiple of ", 32, " is needed"). Numbers are written the same
/// whatever locale the host program has set.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  static_cast<void>((out << ... << parts));
  return out.str();
}

}  // namespace ltxv

/// Throws `kind` unless the condition holds: for what callers and files can cause.
#define LTXV_REQUIRE(kind, condition, ...)                  \
  do {                                                      \
    if (!(condition)) throw kind(::ltxv::text(__VA_ARGS__)); \
  } while (false)

#define LTXV_CHECK(condition, ...) LTXV_REQUIRE(::ltxv::InvalidArgument, condition, __VA_ARGS__)

/// Throws InternalError unless the condition holds: for our own defects.
#define LTXV_ASSERT(condition, ...) \
  LTXV_REQUIRE(::ltxv::InternalError, condition, __FILE__, ":", __LINE__, ": " __VA_OPT__(, ) __VA_ARGS__)
