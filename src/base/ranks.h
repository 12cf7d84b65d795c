#pragma once
// Threads that compute one thing together, each its part: what collective communication calls ranks.
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace ltxv {

/// What a rank meets with where another one has failed; Ranks::run throws that one's error instead.
class OtherRankFailed : public std::exception {
 public:
  const char* what() const noexcept override { return "another rank failed"; }
};

/// Rank 0 is the thread that calls run(); the others wait for work in between.
class Ranks {
 public:
  /// Starts count - 1 threads.
  explicit Ranks(int count);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int count() const { return count_; }
  /// work(rank) on every rank; returns when all have ended. Not for two callers at once.
  /// Errors: the first one that a rank threw.
  void run(const std::function<void(int rank)>& work);

  /// A point that some of the ranks reach together, time after time. Lives no longer than its Ranks.
  class Meeting {
   public:
    Meeting(Ranks& ranks, int64_t count) : ranks_(ranks), count_(count) {}
    /// Waits for the others; what they wrote before it can be read behind it. Errors: OtherRankFailed.
    void wait();

   private:
    Ranks& ranks_;
    int64_t count_, arrived_ = 0, turn_ = 0;
  };

 private:
  void serve(int rank);
  void perform(int rank);

  const int count_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(int)>* work_ = nullptr;
  int64_t round_ = 0;
  int busy_ = 0;
  bool ending_ = false, failed_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

/// Which of `total` things each of `count` ranks has: a run of them, as equal in length as can be.
struct Split {
  int64_t total, count;
  int64_t begin(int64_t rank) const { return total * rank / count; }
  int64_t size(int64_t rank) const { return begin(rank + 1) - begin(rank); }
};

}  // namespace ltxv
