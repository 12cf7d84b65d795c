#pragma once
// Help pages as plain data, laid out to the width of the terminal.
#include <string>
#include <vector>

namespace cli {

struct HelpPage {
  struct Row {
    std::string left, right;
  };
  struct Group {
    std::string title;
    std::vector<Row> rows;
  };
  std::string usage, description;
  std::vector<Group> groups;
  std::string footer;  ///< printed as it is
};

/// Two columns; the right one is wrapped so that no line is longer than `columns`.
std::string format_help(const HelpPage& page, int columns);

/// The examples at the end of a command's help; "" is the program's own page.
std::string help_examples(const std::string& command);

/// The candidate closest to `word`, or "" when none is close enough to be what was meant.
std::string closest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace cli
