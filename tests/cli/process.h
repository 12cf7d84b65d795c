#pragma once
// Runs the program and collects what it says.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/temp_folder.h"

namespace ltxv::test {

inline const std::string kTinyModel = LTXV_SOURCE_DIR "/tests/golden/tiny_model";

struct Finished {
  int exit_code = -1;  ///< -1: ended by a signal
  std::string out, err;

  /// The lines of stdout as JSON; a line that is none fails the test.
  std::vector<nlohmann::json> json_lines() const {
    std::vector<nlohmann::json> lines;
    for (size_t at = 0; at < out.size();) {
      const size_t end = std::min(out.find('\n', at), out.size());
      lines.push_back(nlohmann::json::parse(out.substr(at, end - at), nullptr, false));
      EXPECT_FALSE(lines.back().is_discarded()) << out.substr(at, end - at);
      at = end + 1;
    }
    return lines;
  }
};

/// One run of the program in a folder of its own.
class Program {
 public:
  /// `in` is its standard input. `setup` runs in the child just before exec.
  explicit Program(std::vector<std::string> arguments, const std::string& in = "", std::function<void()> setup = {})
      : out_(folder_ / "stdout"), err_(folder_ / "stderr") {
    folder_.write("stdin", in);
    work_ = folder_ / "work";
    std::filesystem::create_directory(work_);
    start(std::move(arguments), setup);
  }
  ~Program() {
    if (running_) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }

  pid_t pid() const { return pid_; }
  /// The folder it runs in.
  const std::string& folder() const { return work_; }
  std::string err_so_far() const { return read_file(err_); }
  std::string out_so_far() const { return read_file(out_); }

  Finished wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    running_ = false;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out_), read_file(err_)};
  }

  /// Waits (at most a minute) until `text` stands in stdout or stderr.
  bool wait_for(const std::string& text) const {
    for (int i = 0; i < 6000; ++i) {
      if (err_so_far().find(text) != std::string::npos || out_so_far().find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  /// Names in its folder, hidden ones too, in order.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(work_)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  void start(std::vector<std::string> arguments, const std::function<void()>& setup) {
    arguments.insert(arguments.begin(), LTXV_PROGRAM);
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    const std::string in = folder_ / "stdin";
    pid_ = fork();
    if (pid_ != 0) return;
    const auto redirect = [](const std::string& path, int flags, int fd) {
      const int opened = open(path.c_str(), flags, 0600);
      if (opened < 0 || dup2(opened, fd) < 0) _exit(99);
      close(opened);
    };
    redirect(in, O_RDONLY, 0);
    redirect(out_, O_WRONLY | O_CREAT | O_TRUNC, 1);
    redirect(err_, O_WRONLY | O_CREAT | O_TRUNC, 2);
    if (chdir(work_.c_str()) != 0) _exit(99);
    if (setup) setup();
    execv(argv[0], argv.data());
    _exit(98);
  }

  TempFolder folder_;
  std::string work_, out_, err_;
  pid_t pid_ = -1;
  bool running_ = true;
};

inline Finished run(std::vector<std::string> arguments, const std::string& in = "") {
  return Program(std::move(arguments), in).wait();
}

/// A small generate command on the tiny model: 9 frames 64x32, 2 steps.
inline std::vector<std::string> small_generate(std::vector<std::string> more = {}) {
  std::vector<std::string> words{"generate", "a red circle", "-m", kTinyModel, "--width", "64",        "--height",
                                 "32",       "--frames",     "9",  "--steps",  "2",       "--threads", "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Exactly one line, without control characters.
inline void expect_one_line(const std::string& text) {
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
}

}  // namespace ltxv::test
