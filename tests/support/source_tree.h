#pragma once
// The library's own sources as text, for tests of its structure.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace ltxv::test {

struct SourceFile {
  std::string path;  ///< from the top of the tree, with '/'
  std::vector<std::string> lines;

  bool in(const std::string& folder) const { return path.rfind(folder + "/", 0) == 0; }
  /// "transformer" for src/transformer/block.cpp; empty outside src/.
  std::string layer() const {
    if (!in("src")) return in("kernels") ? "kernels" : "";
    const auto rest = path.substr(4);
    return rest.substr(0, rest.find('/'));
  }
};

/// All C and C++ sources below a folder of the tree.
inline std::vector<SourceFile> sources_below(const std::string& folder) {
  namespace fs = std::filesystem;
  const fs::path top = LTXV_SOURCE_DIR;
  std::vector<SourceFile> files;
  for (const auto& entry :
       fs::recursive_directory_iterator(top / folder, fs::directory_options::follow_directory_symlink)) {
    static const std::vector<std::string> kinds = {".h", ".hpp", ".c", ".cpp", ".inl", ".cu", ".cuh", ".in"};
    if (!entry.is_regular_file() || std::find(kinds.begin(), kinds.end(), entry.path().extension()) == kinds.end())
      continue;
    SourceFile file{entry.path().lexically_relative(top).generic_string(), {}};
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) file.lines.push_back(line);
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

struct Include {
  std::string name;
  bool quoted;
};

inline std::vector<Include> includes_of(const SourceFile& file) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<Include> includes;
  std::smatch match;
  for (const auto& line : file.lines)
    if (std::regex_search(line, match, pattern)) includes.push_back({match[2], match[1] == "\""});
  return includes;
}

/// A line without its // comment and without what stands between quotes; good enough for sources that keep to one
/// style.
inline std::string code_of(const std::string& line) {
  std::string code;
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote) {
      if (c == '\\')
        ++i;
      else if (c == quote)
        quote = 0;
      continue;
    }
    if (c == '/' && i + 1 < line.size() && (line[i + 1] == '/' || line[i + 1] == '*')) break;
    // A quote behind a digit or letter parts the digits of a number.
    if (c == '"' || (c == '\'' && (i == 0 || !std::isalnum(static_cast<unsigned char>(line[i - 1]))))) {
      quote = c;
      continue;
    }
    code += c;
  }
  const auto start = code.find_first_not_of(' ');
  return start != std::string::npos && code[start] == '*' ? "" : code;  // inside a block comment
}

}  // namespace ltxv::test
