// The fences between the layers (docs/architecture.md), read from the sources themselves.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "support/source_tree.h"

namespace ltxv {
namespace {

using test::SourceFile;
namespace fs = std::filesystem;

// What each layer may include besides itself. An include points down or to base, never up or sideways.
const std::map<std::string, std::set<std::string>> kBelow = {
    {"base", {}},
    {"weights", {"base"}},
    {"kernels", {"base"}},
    {"nn", {"base", "weights", "kernels"}},
    {"text", {"base", "weights", "kernels", "nn"}},
    {"transformer", {"base", "weights", "kernels", "nn"}},
    {"vae", {"base", "weights", "kernels", "nn"}},
    {"upscale", {"base", "weights", "kernels", "nn"}},
    {"diffusion", {"base", "kernels"}},
    {"media", {"base"}},
    {"pipeline", {"base", "weights", "kernels", "nn", "text", "transformer", "vae", "upscale", "diffusion", "media"}},
    {"api", {"base", "weights", "kernels", "diffusion", "media", "pipeline"}}};

std::vector<SourceFile> library_sources() {
  auto files = test::sources_below("src");
  for (auto& file : test::sources_below("kernels")) files.push_back(std::move(file));
  return files;
}

// The layer that an include of ours belongs to; "" for one of the system or of a dependency.
std::string layer_of(const std::string& include, const SourceFile& from) {
  const fs::path top = LTXV_SOURCE_DIR;
  if (fs::exists(top / "src" / include)) return include.substr(0, include.find('/'));
  if (fs::exists(top / "kernels" / include)) return "kernels";
  if (fs::exists((top / from.path).parent_path() / include)) return from.layer();
  return "";
}

TEST(Layering, IncludesPointDown) {
  size_t seen = 0;
  for (const auto& file : library_sources()) {
    const auto layer = file.layer();
    ASSERT_TRUE(kBelow.count(layer)) << file.path << ": a layer this test does not know";
    for (const auto& include : test::includes_of(file)) {
      const auto target = layer_of(include.name, file);
      if (target.empty() || target == layer) continue;
      ++seen;
      EXPECT_TRUE(kBelow.at(layer).count(target)) << file.path << " includes " << include.name;
    }
  }
  EXPECT_GT(seen, 30u);  // else this test looks at the wrong place
}

TEST(Layering, QuotedIncludesAreOurs) {
  for (const auto& file : library_sources())
    for (const auto& include : test::includes_of(file)) {
      if (include.quoted && include.name.rfind("ltxv/", 0) != 0) {
        EXPECT_NE(layer_of(include.name, file), "") << file.path << ": " << include.name;
      }
    }
}

TEST(Layering, HeadersForUsersNeedNothingOfTheLibrary) {
  const auto headers = test::sources_below("include");
  ASSERT_GE(headers.size(), 1u);
  for (const auto& file : headers)
    for (const auto& include : test::includes_of(file)) {
      const bool own = include.name.rfind("ltxv", 0) == 0 || include.name.find('/') == std::string::npos;
      EXPECT_TRUE(own) << file.path << " includes " << include.name;
      EXPECT_FALSE(std::regex_search(include.name, std::regex("torch|ATen|c10|nlohmann|libav")))
          << file.path << ": " << include.name;
    }
}

TEST(Layering, ExamplesSeeOnlyThePublicHeaders) {
  const fs::path top = LTXV_SOURCE_DIR;
  if (!fs::exists(top / "examples")) GTEST_SKIP() << "no examples in this tree";
  for (const auto& file : test::sources_below("examples"))
    for (const auto& include : test::includes_of(file)) {
      EXPECT_FALSE(fs::exists(top / "src" / include.name) || fs::exists(top / "kernels" / include.name))
          << file.path << ": " << include.name;
      EXPECT_FALSE(std::regex_search(include.name, std::regex("^(torch|ATen|c10)/")))
          << file.path << ": " << include.name;
    }
}

// Dependencies that may be seen in one place only.
TEST(Layering, DependenciesStayWhereTheyBelong) {
  const std::regex ffmpeg("^libav|^libsw"), sentencepiece("^sentencepiece"), json("^nlohmann/"), torch("^torch/");
  const std::set<std::string> json_layers = {"weights", "text", "vae", "pipeline"};
  for (const auto& file : library_sources())
    for (const auto& include : test::includes_of(file)) {
      const auto where = file.path + " includes " + include.name;
      if (std::regex_search(include.name, ffmpeg)) {
        EXPECT_EQ(file.layer(), "media") << where;
      }
      if (std::regex_search(include.name, sentencepiece)) {
        EXPECT_EQ(file.path, "src/text/tokenizer.cpp") << where;
      }
      if (std::regex_search(include.name, json)) {
        EXPECT_TRUE(json_layers.count(file.layer())) << where;
      }
      EXPECT_FALSE(std::regex_search(include.name, torch)) << where << ": ATen is seen through base/tensor.h";
    }
}

// Parsers, schedules, configs and requests build without ATen: they are what fuzzers link.
TEST(Layering, TheTorchFreeFilesStayTorchFree) {
  const std::set<std::string> free_layers = {"media"};
  const std::set<std::string> free_files = {"src/base/error.h",           "src/base/run_context.h",
                                            "src/base/hidden_parts.h",
                                            "src/base/video_shape.h",     "src/weights/tensor_source.h",
                                            "src/weights/file_bytes.h",   "src/weights/key_map.h",
                                            "src/weights/safetensors.h",  "src/weights/safetensors.cpp",
                                            "src/weights/key_map.cpp",    "src/diffusion/schedule.h",
                                            "src/diffusion/schedule.cpp", "src/vae/vae_config.h",
                                            "src/vae/vae_config.cpp",     "src/text/t5_config.h",
                                            "src/text/tokenizer.h",       "src/transformer/transformer_config.h",
                                            "src/pipeline/model_spec.h",  "src/pipeline/request.h",
                                            "kernels/cpu_rows.h",         "kernels/cpu_rows.inl"};
  const std::regex torch("^(torch|ATen|c10)/|^base/tensor.h$|^nn/");
  for (const auto& file : library_sources()) {
    if (!free_files.count(file.path) && !free_layers.count(file.layer()) && fs::path(file.path).extension() != ".cu")
      continue;
    for (const auto& include : test::includes_of(file))
      EXPECT_FALSE(std::regex_search(include.name, torch)) << file.path << " includes " << include.name;
  }
}

TEST(Layering, NoReleaseIsNamedInTheComponents) {
  const std::regex release(R"(\b0\.9\.[0-9])");
  for (const auto& file : library_sources()) {
    if (!std::set<std::string>{"text", "transformer", "vae", "diffusion", "nn", "kernels"}.count(file.layer()))
      continue;
    for (size_t i = 0; i < file.lines.size(); ++i)
      EXPECT_FALSE(std::regex_search(file.lines[i], release)) << file.path << ":" << i + 1 << ": " << file.lines[i];
  }
}

const std::regex kForbidden(
    R"(\bstd::(cout|cerr|clog|abort|exit|terminate|quick_exit)\b|(^|[^\w.>:])(printf|fprintf|vprintf|puts|putchar|perror|abort|exit|_exit|_Exit)\s*\()");

TEST(Layering, TheSearchFindsWhatItLooksFor) {
  for (const std::string line : {"  printf(\"x\");", "std::cout << 1;", "if (bad) abort();", "std::exit(1);", "return x, exit (2);"})
    EXPECT_TRUE(std::regex_search(test::code_of(line), kForbidden)) << line;
  for (const std::string line : {"// printf(x)", "snprintf(buffer, 3, f);", "run.exit();", "text(\"abort()\")", " * exit(1)", "at_exit(f);"})
    EXPECT_FALSE(std::regex_search(test::code_of(line), kForbidden)) << line;
  EXPECT_EQ(test::code_of("a = 'x'; b = 1'000; // c"), "a = ; b = 1'000; ");
}

TEST(Layering, TheLibraryNeverPrintsAbortsExitsOrReadsTheEnvironment) {
  const std::regex environment(R"(\b(secure_)?getenv\s*\(|\benviron\b)");
  for (const auto& file : library_sources())
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const auto code = test::code_of(file.lines[i]);
      const auto where = file.path + ":" + std::to_string(i + 1) + ": " + file.lines[i];
      EXPECT_FALSE(std::regex_search(code, kForbidden)) << where;
      // The one documented exception: pinning of kernels.
      if (file.path != "kernels/registry.cpp") {
        EXPECT_FALSE(std::regex_search(code, environment)) << where;
      }
    }
}

// Those that are there are asked for, by naming several devices.
TEST(Layering, NoHiddenThreads) {
  const std::regex thread(R"(\bstd::(thread|jthread|async)\b|\bpthread_create\b)");
  const std::set<std::string> asked_for = {"src/base/ranks.h", "src/base/ranks.cpp"};
  for (const auto& file : library_sources())
    for (size_t i = 0; i < file.lines.size(); ++i)
      EXPECT_FALSE(!asked_for.count(file.path) && std::regex_search(test::code_of(file.lines[i]), thread))
          << file.path << ":" << i + 1 << ": " << file.lines[i];
}

TEST(Layering, FilesStayShort) {
  auto files = library_sources();
  for (auto& file : test::sources_below("tests")) files.push_back(std::move(file));
  for (const auto& file : files) EXPECT_LE(file.lines.size(), 400u) << file.path;
}

TEST(Layering, HeadersAreGuarded) {
  for (const auto& file : library_sources()) {
    if (fs::path(file.path).extension() != ".h") continue;
    EXPECT_TRUE(std::find(file.lines.begin(), file.lines.end(), "#pragma once") != file.lines.end()) << file.path;
  }
}

}  // namespace
}  // namespace ltxv
