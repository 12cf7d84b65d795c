// Links in the documents lead somewhere, and the options they name exist.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

namespace ltxv {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> documents() {
  const fs::path top = LTXV_SOURCE_DIR;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(top))
    if (entry.path().extension() == ".md") files.push_back(entry.path());
  for (const char* folder : {"docs", "examples", "tests"})
    for (const auto& entry : fs::recursive_directory_iterator(top / folder))
      if (entry.path().extension() == ".md") files.push_back(entry.path());
  return files;
}

std::string content_of(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Docs, RelativeLinksLeadSomewhere) {
  const std::regex link(R"(\]\(([^)\s]+)\))");
  size_t seen = 0;
  for (const auto& file : documents()) {
    const auto content = content_of(file);
    for (auto it = std::sregex_iterator(content.begin(), content.end(), link); it != std::sregex_iterator(); ++it) {
      std::string target = (*it)[1];
      if (target.find("://") != std::string::npos || target.rfind("mailto:", 0) == 0) continue;
      target = target.substr(0, target.find('#'));
      if (target.empty()) continue;
      ++seen;
      EXPECT_TRUE(fs::exists(file.parent_path() / target)) << file << " links to " << target;
    }
  }
  EXPECT_GT(seen, 5u);
}

// `src/vae/blocks` stands for the header and the source.
bool exists_with_any_ending(const fs::path& path) {
  return fs::exists(path) || fs::exists(path.string() + ".h") || fs::exists(path.string() + ".cpp");
}

TEST(Docs, NamedFilesExist) {
  // `src/…`, `tests/…` and so on in code marks, without placeholders.
  const std::regex name(R"(`((src|kernels|tests|docs|examples|third_party|include)/[A-Za-z0-9_./-]+)`)");
  for (const auto& file : documents()) {
    const auto content = content_of(file);
    for (auto it = std::sregex_iterator(content.begin(), content.end(), name); it != std::sregex_iterator(); ++it)
      EXPECT_TRUE(exists_with_any_ending(fs::path(LTXV_SOURCE_DIR) / (*it)[1].str())) << file << " names " << (*it)[1];
  }
}

#ifdef LTXV_PROGRAM
std::string output_of(const std::string& command) {
  std::string output;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen((command + " 2>&1").c_str(), "r"), pclose);
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe.get())) > 0;) output.append(buffer, n);
  return output;
}

std::set<std::string> options_in(const std::string& content) {
  const std::regex option(R"(--[a-z][a-z-]+)");
  std::set<std::string> options;
  for (auto it = std::sregex_iterator(content.begin(), content.end(), option); it != std::sregex_iterator(); ++it)
    options.insert(it->str());
  return options;
}

TEST(Docs, OptionsOfTheProgramExist) {
  std::string help = output_of(std::string(LTXV_PROGRAM) + " --help");
  for (const char* command : {"generate", "embed", "encode", "decode", "replay", "info", "doctor", "convert"})
    help += output_of(std::string(LTXV_PROGRAM) + " " + command + " --help");
  const auto known = options_in(help), described = options_in(content_of(fs::path(LTXV_SOURCE_DIR) / "docs/cli.md"));
  ASSERT_GT(known.size(), 20u) << help;
  for (const auto& option : described) EXPECT_TRUE(known.count(option)) << "docs/cli.md describes " << option;
  // Lines of the README that run the program.
  std::istringstream readme(content_of(fs::path(LTXV_SOURCE_DIR) / "README.md"));
  for (std::string line; std::getline(readme, line);) {
    if (line.find("bin/ltxv ") == std::string::npos) continue;
    for (const auto& option : options_in(line)) EXPECT_TRUE(known.count(option)) << "README.md: " << line;
  }
}
#endif

}  // namespace
}  // namespace ltxv
