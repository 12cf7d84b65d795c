#pragma once
// What one run carries: cancellation and progress. The engine and its modules are const; everything that changes is here.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"

namespace ltxv {

/// Tripped once, from any thread; never re-armed.
class CancelToken {
 public:
  void trip() noexcept { flag_.store(true, std::memory_order_relaxed); }
  bool tripped() const noexcept { return flag_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> flag_{false};
};

enum class Stage : int32_t { load = 0, text = 1, encode = 2, denoise = 3, decode = 4, write = 5 };

struct Progress {
  Stage stage = Stage::load;
  int64_t step = 0;        ///< units finished in this stage
  int64_t step_count = 0;  ///< units of this stage, 0 when unknown
  double elapsed_seconds = 0;
};

enum class LogLevel : int32_t { debug = 0, info = 1, warning = 2 };

/// Callbacks run on the thread that runs the generation, without a lock held.
struct RunHooks {
  std::function<bool(const Progress&)> on_progress;  ///< returns false to stop the run
  std::function<void(LogLevel, const std::string&)> on_log;
  std::shared_ptr<const CancelToken> cancel;
};

class RunContext {
 public:
  RunContext() = default;
  explicit RunContext(RunHooks hooks) : hooks_(std::move(hooks)) {}

  /// Called between steps, transformer blocks and VAE tiles. Errors: Cancelled.
  void check_cancelled() const {
    if (stopped_ || (hooks_.cancel && hooks_.cancel->tripped())) throw Cancelled("cancelled");
  }

  /// Reports finished units; then looks for cancellation. Errors: Cancelled.
  void report(Stage stage, int64_t step, int64_t step_count) {
    if (hooks_.on_progress) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
      if (!hooks_.on_progress({stage, step, step_count, elapsed.count()})) stopped_ = true;
    }
    check_cancelled();
  }

  void log(LogLevel level, const std::string& message) const {
    if (hooks_.on_log) hooks_.on_log(level, message);
  }

 private:
  RunHooks hooks_;
  bool stopped_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace ltxv
