#pragma once
// What stderr is: a terminal or not, how wide, with colour and UTF-8 or without.
#include <string>

namespace cli {

struct Terminal {
  bool interactive = false;  ///< a terminal that can move its cursor
  bool colour = false;       ///< off with NO_COLOR (any value) or TERM=dumb
  bool utf8 = false;         ///< the locale's character set
};
Terminal stderr_terminal();

/// Columns of the terminal behind file descriptor `fd`, $COLUMNS otherwise, 80 without both. Looked up anew each time:
/// a window may change its size.
int column_count(int fd);

/// "3.2 s", "1:04", "2:03:04".
std::string duration_text(double seconds);

/// Numbers without the locale: 3 significant decimals at most, no exponent for ordinary sizes.
std::string number_text(double value);

}  // namespace cli
