#pragma once
// The memory of this process that is in use now, for tests of what is given back.
#include <cstdint>
#include <fstream>
#include <string>

namespace ltxv::test {

/// A line of /proc/self/status in KiB: "RssFile" (mapped files), "VmRSS" (all of it). 0 where there is no such line.
inline int64_t resident_kib(const std::string& line_name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(line_name + ":")) return std::stoll(line.substr(line_name.size() + 1));
  return 0;
}

}  // namespace ltxv::test
