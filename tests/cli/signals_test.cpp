// Ctrl-C and SIGTERM: exit code 130, nothing left behind.
#include "cli/process.h"

namespace ltxv::test {
namespace {

/// Long enough to be interrupted: 1000 steps of a few milliseconds each, the most there can be.
std::vector<std::string> long_generate() {
  auto words = small_generate({"--json", "--save-latents", "l.safetensors"});
  words[11] = "1000";
  return words;
}

TEST(CliSignals, TheFirstOneCancelsAndLeavesNothing) {
  for (const int signal_number : {SIGINT, SIGTERM}) {
    Program program(long_generate());
    ASSERT_TRUE(program.wait_for("\"denoise\",\"step\":2")) << program.err_so_far();
    const auto start = std::chrono::steady_clock::now();
    kill(program.pid(), signal_number);
    const Finished f = program.wait();
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(f.exit_code, 130) << f.err;
    EXPECT_LT(waited.count(), 10.0);
    EXPECT_NE(f.err.find("cancelled"), std::string::npos) << f.err;
    EXPECT_EQ(f.json_lines().back()["status"], "cancelled");
    EXPECT_TRUE(program.files().empty()) << program.files()[0];
  }
}

TEST(CliSignals, WaitingForAPromptEndsToo) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  auto words = small_generate();
  words[1] = "-";
  Program program(words, "", [&] { dup2(ends[0], 0); });
  // Installed handlers show in /proc: SIGINT is bit 1 of SigCgt.
  const std::string status_path = "/proc/" + std::to_string(program.pid()) + "/status";
  for (int i = 0; i < 3000; ++i) {
    const std::string status = read_file(status_path);
    const size_t at = status.find("SigCgt:");
    if (at != std::string::npos && (std::stoull(status.substr(at + 8), nullptr, 16) & 2) != 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(program.pid(), SIGINT);
  EXPECT_EQ(program.wait().exit_code, 130);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace ltxv::test
