#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace cli {
namespace {

using nlohmann::ordered_json;

constexpr const char* kStageNames[] = {"load", "text", "encode", "denoise", "decode", "write"};

const char* stage_name(ltxv::stage stage) {
  const auto index = static_cast<size_t>(stage);
  return index < std::size(kStageNames) ? kStageNames[index] : "work";
}

/// "eta 3.2 s", from the mean time of the units done so far; empty before the first one.
std::string remaining_text(const ltxv::progress& p, double stage_seconds) {
  if (p.step <= 0 || p.step_count <= p.step) return "";
  return "eta " + duration_text(stage_seconds / p.step * (p.step_count - p.step));
}

/// `filled` of `width` cells, with eighths of a cell where the character set has them.
std::string bar_text(double fraction, int width, bool utf8) {
  std::string bar;
  const double cells = std::clamp(fraction, 0.0, 1.0) * width;
  for (int i = 0; i < width; ++i) {
    const double part = cells - i;
    if (!utf8) {
      bar += part >= 1 ? '#' : '.';
    } else if (part >= 1) {
      bar += "\u2588";
    } else if (part > 0.125) {
      // U+258F is one eighth, U+2589 seven eighths: the last byte counts down.
      bar += std::string("\xE2\x96") + static_cast<char>(0x8F - std::min(6, static_cast<int>(part * 8) - 1));
    } else {
      bar += "\u2591";
    }
  }
  return bar;
}

}  // namespace

ltxv::hooks Reporter::hooks(const ltxv::cancel_token& cancel) {
  ltxv::hooks h;
  h.cancel = cancel;
  if (quiet_) return h;
  h.on_progress = [this](const ltxv::progress& p) {
    progress(p);
    return true;
  };
  h.on_log = [this](int32_t level, std::string_view message) {
    if (json_)
      print_json({{"event", "log"},
                  {"level", level == LTXV_LOG_WARNING ? "warning"
                            : level == LTXV_LOG_INFO  ? "info"
                                                      : "debug"},
                  {"message", message}});
    if (level >= LTXV_LOG_WARNING) note("warning: " + std::string(message));
  };
  return h;
}

void Reporter::progress(const ltxv::progress& p) {
  const auto now = Clock::now();
  const bool new_stage = stage_ != static_cast<int>(p.stage);
  stage_ = static_cast<int>(p.stage);
  const auto index = std::min(static_cast<size_t>(p.stage), stage_start_.size() - 1);
  if (stage_start_[index] == Clock::time_point{} || p.step < stage_step_[index]) stage_start_[index] = now;
  stage_step_[index] = p.step;
  const double stage_seconds = std::chrono::duration<double>(now - stage_start_[index]).count();
  const bool at_end = p.step_count > 0 && p.step >= p.step_count;
  const bool finished = at_end && !stage_ended_[index];  // a stage that ends again and again is told of as often as any other step
  stage_ended_[index] = stage_ended_[index] || at_end;
  if (json_) {
    print_json({{"event", "progress"},
                {"stage", stage_name(p.stage)},
                {"step", p.step},
                {"step_count", p.step_count},
                {"elapsed_seconds", p.elapsed_seconds}});
    return;
  }
  // A terminal need not be redrawn more than 20 times a second, a log file not more than once in 2 seconds.
  const double since_shown = std::chrono::duration<double>(now - last_shown_).count();
  const double pause = terminal_.interactive ? 0.05 : 2.0;
  if (!terminal_.interactive && p.step == 0 && p.step_count > 0) return;
  if (!finished && !(new_stage && terminal_.interactive) && since_shown < pause) return;
  last_shown_ = now;
  if (terminal_.interactive) {
    draw_bar(p, stage_seconds);
  } else {
    plain_line(p, stage_seconds);
  }
}

void Reporter::draw_bar(const ltxv::progress& p, double stage_seconds) {
  const int columns = column_count(STDERR_FILENO);
  char head[16];
  std::snprintf(head, sizeof head, "%-8s", stage_name(p.stage));
  std::string tail;
  if (p.step_count > 0) tail = " " + std::to_string(p.step) + "/" + std::to_string(p.step_count);
  tail += "  " + duration_text(p.elapsed_seconds);
  const std::string remaining = remaining_text(p, stage_seconds);
  if (!remaining.empty()) tail += "  " + remaining;
  // One column stays free: some terminals wrap when the last one is written.
  const int width = std::min(40, columns - 1 - 8 - static_cast<int>(tail.size()));
  std::string line = head;
  if (width >= 4) {
    const double fraction = p.step_count > 0 ? static_cast<double>(p.step) / p.step_count : 0;
    const std::string bar = bar_text(fraction, width, terminal_.utf8);
    line += terminal_.colour ? "\x1b[36m" + bar + "\x1b[0m" : bar;
    line += tail;
  } else {
    line = (line + tail).substr(0, static_cast<size_t>(std::max(1, columns - 1)));
  }
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
  bar_visible_ = true;
}

void Reporter::plain_line(const ltxv::progress& p, double stage_seconds) {
  std::string line = stage_name(p.stage);
  if (p.step_count > 0) line += " " + std::to_string(p.step) + "/" + std::to_string(p.step_count);
  line += " (" + duration_text(p.elapsed_seconds);
  const std::string remaining = remaining_text(p, stage_seconds);
  line += remaining.empty() ? ")" : ", " + remaining + ")";
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Reporter::end_bar() {
  if (!bar_visible_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  bar_visible_ = false;
}

void Reporter::note(const std::string& line) {
  if (quiet_) return;
  end_bar();
  std::fprintf(stderr, "ltxv: %s\n", line.c_str());
}

void Reporter::error(const std::string& status, const std::string& line) {
  end_bar();
  if (terminal_.colour) {
    std::fprintf(stderr, "\x1b[31mltxv:\x1b[0m %s\n", line.c_str());
  } else {
    std::fprintf(stderr, "ltxv: %s\n", line.c_str());
  }
  if (json_) print_json({{"event", "error"}, {"status", status}, {"message", line}});
}

void Reporter::result(const std::string& line, const ordered_json& object) {
  end_bar();
  if (json_) {
    print_json(object);
  } else {
    std::printf("%s\n", line.c_str());
  }
}

void Reporter::print_json(const ordered_json& object) {
  // Paths may hold bytes that are not UTF-8; JSON may not.
  std::printf("%s\n", object.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

void flush_stdout() {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (failed && errno != EPIPE && errno != 0)
    throw ltxv::error(LTXV_IO, std::string("cannot write to standard output: ") + std::strerror(errno));
}

const char* status_name(ltxv_status status) {
  switch (status) {
    case LTXV_INVALID_ARGUMENT:
      return "invalid_argument";
    case LTXV_IO:
      return "io";
    case LTXV_BAD_WEIGHTS:
      return "bad_weights";
    case LTXV_UNSUPPORTED:
      return "unsupported";
    case LTXV_OUT_OF_MEMORY:
      return "out_of_memory";
    case LTXV_DEVICE:
      return "device";
    case LTXV_CANCELLED:
      return "cancelled";
    case LTXV_NUMERIC:
      return "numeric";
    default:
      return "internal";
  }
}

}  // namespace cli
