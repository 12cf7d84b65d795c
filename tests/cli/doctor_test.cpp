// `ltxv doctor` as a process.
#include "cli/process.h"
#include "support/model_copy.h"

namespace ltxv::test {
namespace {

TEST(CliDoctor, SoundFilesEndWithZero) {
  const Finished f = run({"doctor", kTinyModel, "--quiet"});
  EXPECT_EQ(f.exit_code, 0) << f.err;
  EXPECT_EQ(f.err, "");
  EXPECT_NE(f.out.find("LTX-Video transformer\n  90 tensors"), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("compute: fp32 good, bf16 good"), std::string::npos) << f.out;
  EXPECT_TRUE(f.out.ends_with("\ngood\n")) << f.out;
}

TEST(CliDoctor, ProblemsEndWithOneAndAreListedOnStdout) {
  const ModelCopy model;
  model.remove("tokenizer/spiece.model");
  std::filesystem::resize_file(model / "vae/diffusion_pytorch_model.safetensors", 5000);
  const Finished f = run({"doctor", model.path(), "/no/such/file", "--quiet"});
  EXPECT_EQ(f.exit_code, 1);
  expect_one_line(f.err);
  EXPECT_NE(f.err.find("problems found"), std::string::npos) << f.err;
  EXPECT_NE(f.out.find("/no/such/file\n  problem: "), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("the file is cut off or damaged"), std::string::npos) << f.out;

  const Finished j = run({"doctor", model.path(), "--json", "--quiet"});
  EXPECT_EQ(j.exit_code, 1);
  const auto lines = j.json_lines();
  ASSERT_GE(lines.size(), 4u);
  EXPECT_EQ(lines.front()["event"], "file");
  EXPECT_EQ(lines.back()["event"], "error");
  EXPECT_EQ(lines.back()["status"], "bad_weights");
  const auto& result = lines[lines.size() - 2];
  EXPECT_EQ(result["event"], "result");
  EXPECT_EQ(result["good"], false);
  EXPECT_EQ(result["problems"], std::count_if(lines.begin(), lines.end(), [](const auto& line) {
              return line["event"] == "finding" && line["severity"] == "problem";
            }));
}

TEST(CliDoctor, WrongUsageEndsWithTwo) {
  for (const auto& [words, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"doctor"}, "a file is missing"}, {{"doctor", "x", "--kernels"}, "exclude each other"}, {{"doctor", "x", "--kernel"}, "did you mean"}}) {
    const Finished f = run(words);
    EXPECT_EQ(f.exit_code, 2) << f.err;
    EXPECT_NE(f.err.find(message), std::string::npos) << f.err;
  }
  EXPECT_EQ(run({"doctor", kTinyModel, "--release", "0.9.9"}).exit_code, 2);
}

TEST(CliDoctor, KernelsAreNamedWithTheReason) {
  const Finished f = run({"doctor", "--kernels"});
  EXPECT_EQ(f.exit_code, 0) << f.err;
  EXPECT_NE(f.out.find("\nattention: "), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("the first this machine can run"), std::string::npos) << f.out;
  const Finished pinned = Program({"doctor", "--kernels", "--json"}, "", [] { setenv("LTXV_KERNELS", "conv3d=reference", 1); }).wait();
  const auto j = pinned.json_lines().back();
  EXPECT_EQ(j["kernels"]["conv3d"], "reference");
  EXPECT_EQ(j["kernel_choices"]["conv3d"]["why"], "pinned to reference by LTXV_KERNELS");
}

}  // namespace
}  // namespace ltxv::test
