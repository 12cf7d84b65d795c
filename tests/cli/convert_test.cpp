// `ltxv convert` as a process.
#include "cli/process.h"

namespace ltxv::test {
namespace {

TEST(CliConvert, WritesWhatInfoAndGenerateRead) {
  Program program({"convert", kTinyModel, "-o", "m.safetensors", "--dtype", "fp32", "--json", "--quiet"});
  const Finished f = program.wait();
  ASSERT_EQ(f.exit_code, 0) << f.err;
  EXPECT_EQ(f.json_lines().back()["output"], "m.safetensors");
  EXPECT_EQ(f.json_lines().back()["left_out"].size(), 2u);
  EXPECT_EQ(program.files(), std::vector<std::string>{"m.safetensors"});
  const auto info = run({"info", program.folder() + "/m.safetensors", "--json"}).json_lines();
  EXPECT_EQ(info[0]["release"], "ltxv-0.9.5+");
  const Finished bad = run({"convert", "/no/such/model", "-o", program.folder() + "/x"});
  EXPECT_EQ(bad.exit_code, 1);
  expect_one_line(bad.err);
}

TEST(CliConvert, WrongUsageEndsWithTwo) {
  for (const auto& [words, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"convert"}, "the input is missing"},
           {{"convert", kTinyModel}, "-o OUT is missing"},
           {{"convert", kTinyModel, "-o", "x", "--dtype", "int4"}, "'int4' is not one of"},
           {{"convert", kTinyModel, "-o", "x.safetensors", "--dtype", "q8_0"}, "must end with .gguf"}}) {
    Program program(words);
    const Finished f = program.wait();
    EXPECT_EQ(f.exit_code, 2) << f.err;
    EXPECT_NE(f.err.find(message), std::string::npos) << f.err;
    EXPECT_TRUE(program.files().empty());
  }
}

}  // namespace
}  // namespace ltxv::test
