#pragma once
#include <string>

namespace ltxv::api {

/// One JSON object: version, compiler, flags, LibTorch, CPU, devices and the kernel variant each op uses on this
/// machine.
std::string describe_build();

/// `value` as a JSON string with its quotes.
std::string json_string(const std::string& value);

}  // namespace ltxv::api
