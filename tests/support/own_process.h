#pragma once
// Runs this test program again with another environment: what is read once a process can be tested no other way.
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace ltxv::test {

/// Runs the (disabled) test `name` of this program with `environment` ("A=1 B=2", no quotes inside). Returns its exit
/// status.
inline int run_own_test(const std::string& name, const std::string& environment) {
  char path[PATH_MAX] = {};
  if (::readlink("/proc/self/exe", path, sizeof path - 1) <= 0)
    throw std::runtime_error("/proc/self/exe cannot be read");
  const std::string command = "env " + environment + " '" + path +
                              "' --gtest_also_run_disabled_tests --gtest_brief=1 --gtest_filter=" + name +
                              " >/dev/null 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline std::string environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace ltxv::test
