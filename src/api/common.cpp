// Version, description, cancel switches, texts, and the questions about files that need no engine.
#include <new>

#include "api/description.h"
#include "api/handles.h"
#include "api/versioned.h"
#include "pipeline/convert.h"
#include "pipeline/doctor.h"

using ltxv::api::guarded;

static_assert(static_cast<int32_t>(ltxv::ErrorCode::invalid_argument) == LTXV_INVALID_ARGUMENT &&
              static_cast<int32_t>(ltxv::ErrorCode::io) == LTXV_IO &&
              static_cast<int32_t>(ltxv::ErrorCode::bad_weights) == LTXV_BAD_WEIGHTS &&
              static_cast<int32_t>(ltxv::ErrorCode::unsupported) == LTXV_UNSUPPORTED &&
              static_cast<int32_t>(ltxv::ErrorCode::out_of_memory) == LTXV_OUT_OF_MEMORY &&
              static_cast<int32_t>(ltxv::ErrorCode::device) == LTXV_DEVICE &&
              static_cast<int32_t>(ltxv::ErrorCode::cancelled) == LTXV_CANCELLED &&
              static_cast<int32_t>(ltxv::ErrorCode::internal) == LTXV_INTERNAL &&
              static_cast<int32_t>(ltxv::ErrorCode::numeric) == LTXV_NUMERIC);
static_assert(static_cast<int32_t>(ltxv::Stage::load) == LTXV_STAGE_LOAD &&
              static_cast<int32_t>(ltxv::Stage::text) == LTXV_STAGE_TEXT &&
              static_cast<int32_t>(ltxv::Stage::encode) == LTXV_STAGE_ENCODE &&
              static_cast<int32_t>(ltxv::Stage::denoise) == LTXV_STAGE_DENOISE &&
              static_cast<int32_t>(ltxv::Stage::decode) == LTXV_STAGE_DECODE &&
              static_cast<int32_t>(ltxv::Stage::write) == LTXV_STAGE_WRITE);
static_assert(static_cast<int32_t>(ltxv::LogLevel::debug) == LTXV_LOG_DEBUG &&
              static_cast<int32_t>(ltxv::LogLevel::info) == LTXV_LOG_INFO &&
              static_cast<int32_t>(ltxv::LogLevel::warning) == LTXV_LOG_WARNING);

const char* ltxv_version(void) noexcept { return LTXV_VERSION; }

uint32_t ltxv_abi_version(void) noexcept { return LTXV_ABI_VERSION; }

const char* ltxv_describe(void) noexcept {
  try {
    // Never freed: the text is promised to live as long as the process, also while other static objects are destroyed.
    static const std::string& text = *new std::string(ltxv::api::describe_build());
    return text.c_str();
  } catch (...) {
    return "{\"name\":\"ltxv\",\"version\":\"" LTXV_VERSION "\"}";
  }
}

const char* ltxv_status_text(ltxv_status status) noexcept {
  switch (status) {
    case LTXV_OK:
      return "ok";
    case LTXV_END:
      return "end";
    case LTXV_INVALID_ARGUMENT:
      return "invalid argument";
    case LTXV_IO:
      return "cannot read or write";
    case LTXV_BAD_WEIGHTS:
      return "bad model file";
    case LTXV_UNSUPPORTED:
      return "unsupported";
    case LTXV_OUT_OF_MEMORY:
      return "out of memory";
    case LTXV_DEVICE:
      return "device failed or absent";
    case LTXV_CANCELLED:
      return "cancelled";
    case LTXV_INTERNAL:
      return "internal error";
    case LTXV_NUMERIC:
      return "not a number";
    default:
      return "unknown status";
  }
}

ltxv_status ltxv_cancel_new(ltxv_cancel** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    ltxv::api::start_output(out);
    *out = new ltxv_cancel{std::make_shared<ltxv::CancelToken>()};
  });
}

void ltxv_cancel_trip(ltxv_cancel* cancel) noexcept {
  if (cancel != nullptr) cancel->token->trip();
}

void ltxv_cancel_free(ltxv_cancel* cancel) noexcept { delete cancel; }

const char* ltxv_text_data(const ltxv_text* text) noexcept { return text == nullptr ? nullptr : text->value.c_str(); }

void ltxv_text_free(ltxv_text* text) noexcept { delete text; }

ltxv_status ltxv_inspect(const char* path, ltxv_text** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    ltxv::api::start_output(out);
    *out = new ltxv_text{ltxv::inspect(ltxv::api::required_path(path, "path"))};
  });
}

ltxv_status ltxv_metadata_read(const char* path, ltxv_text** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    ltxv::api::start_output(out);
    *out = new ltxv_text{ltxv::read_settings(ltxv::api::required_path(path, "path"))};
  });
}

ltxv_status ltxv_files_check(const ltxv_check_options* options, ltxv_text** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    ltxv::api::start_output(out);
    ltxv::api::check_process();
    const auto o = ltxv::api::read_versioned(ltxv::api::require(options, "options"), "check options");
    *out = new ltxv_text{ltxv::check_files({.paths = ltxv::api::path_list(o.paths, o.path_count, "paths"),
                                            .release = ltxv::api::path_or_empty(o.release),
                                            .headers_only = o.headers_only != 0},
                                           ltxv::api::run_hooks(o))};
  });
}

ltxv_status ltxv_files_convert(const ltxv_convert_options* options, ltxv_text** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    if (out != nullptr) *out = nullptr;
    ltxv::api::check_process();
    const auto o = ltxv::api::read_versioned(ltxv::api::require(options, "options"), "convert options");
    const auto report = ltxv::convert_files({.paths = ltxv::api::path_list(o.paths, o.path_count, "paths"),
                                             .release = ltxv::api::path_or_empty(o.release),
                                             .output = ltxv::api::required_path(o.output, "output"),
                                             .dtype = ltxv::api::path_or_empty(o.dtype),
                                             .names = ltxv::api::path_or_empty(o.names)},
                                            ltxv::api::run_hooks(o));
    if (out != nullptr) *out = new ltxv_text{report};
  });
}

ltxv_status ltxv_output_check(const char* path, ltxv_error* error) noexcept {
  return guarded(error, [&] { ltxv::check_output_path(ltxv::api::required_path(path, "path")); });
}
