#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace cli {
namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool utf8_locale() {
  // The first that is set and not empty decides, as setlocale would; without setlocale our own numbers stay in the C
  // locale.
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value(environment(name));
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(),
                   [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

}  // namespace

Terminal stderr_terminal() {
  Terminal t;
  const std::string_view type = environment("TERM");
  t.interactive = isatty(STDERR_FILENO) == 1 && !type.empty() && type != "dumb";
  t.colour = t.interactive && std::getenv("NO_COLOR") == nullptr;
  t.utf8 = utf8_locale();
  return t;
}

int column_count(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const std::string_view columns = environment("COLUMNS");
  int value = 0;
  const auto [end, problem] = std::from_chars(columns.data(), columns.data() + columns.size(), value);
  return problem == std::errc() && end == columns.data() + columns.size() && value > 0 ? value : 80;
}

std::string duration_text(double seconds) {
  char text[32];
  const auto whole = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  if (seconds < 59.95) {
    std::snprintf(text, sizeof text, "%.1f s", std::max(0.0, seconds));
  } else if (whole < 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  }
  return text;
}

std::string number_text(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.3f", value);
  std::string result = text;
  result.erase(result.find_last_not_of('0') + 1);
  if (result.back() == '.') result.pop_back();
  return result;
}

}  // namespace cli
