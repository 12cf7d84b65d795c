#pragma once
// What the user sees while and after a command runs: a bar or plain lines on stderr, JSON lines or the result on
// stdout.
#include <array>
#include <chrono>
#include <cstdint>
#include <ltxv/ltxv.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "terminal.h"

namespace cli {

class Reporter {
 public:
  enum class Output { text, json };
  enum class Notes { shown, quiet };
  Reporter(Output output, Notes notes)
      : json_(output == Output::json), quiet_(notes == Notes::quiet), terminal_(stderr_terminal()) {}
  ~Reporter() { end_bar(); }

  /// Callbacks for one library call.
  ltxv::hooks hooks(const ltxv::cancel_token& cancel);

  /// One line on stderr that is not an error; silent with --quiet.
  void note(const std::string& line);
  /// One line on stderr, always; with --json also an object on stdout.
  void error(const std::string& status, const std::string& line);

  /// The result: `line` on stdout, or `object` as one JSON line.
  void result(const std::string& line, const nlohmann::ordered_json& object);

  bool is_json() const { return json_; }

  /// Removes the bar, so that other text can follow.
  void end_bar();

 private:
  void progress(const ltxv::progress& p);
  void draw_bar(const ltxv::progress& p, double stage_seconds);
  void plain_line(const ltxv::progress& p, double stage_seconds);
  void print_json(const nlohmann::ordered_json& object);

  using Clock = std::chrono::steady_clock;
  bool json_, quiet_;
  Terminal terminal_;
  bool bar_visible_ = false;
  int stage_ = -1;
  /// When each stage began and the last step it told of: stages take turns where frames are written while later ones are made.
  std::array<Clock::time_point, 6> stage_start_{};
  std::array<int64_t, 6> stage_step_{};
  std::array<bool, 6> stage_ended_{};
  Clock::time_point last_shown_{};
};

/// Flushes stdout. A reader that has gone away (EPIPE) has seen what it wanted; any other failure is an error.
/// Throws ltxv::error (LTXV_IO).
void flush_stdout();

/// "io", "cancelled", ...: status names for --json.
const char* status_name(ltxv_status status);

}  // namespace cli
