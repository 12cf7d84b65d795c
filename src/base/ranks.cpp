#include "base/ranks.h"

namespace ltxv {

Ranks::Ranks(int count) : count_(count) {
  for (int rank = 1; rank < count; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
}

Ranks::~Ranks() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Ranks::run(const std::function<void(int rank)>& work) {
  {
    const std::lock_guard lock(mutex_);
    work_ = &work, failed_ = false, error_ = nullptr;
    busy_ = count_ - 1;
    ++round_;
  }
  changed_.notify_all();
  perform(0);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return busy_ == 0; });
  work_ = nullptr;
  if (failed_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Ranks::serve(int rank) {
  int64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ending_ || round_ != seen; });
      if (ending_) return;
      seen = round_;
    }
    perform(rank);
    {
      const std::lock_guard lock(mutex_);
      --busy_;
    }
    changed_.notify_all();
  }
}

void Ranks::perform(int rank) {
  try {
    (*work_)(rank);
  } catch (const OtherRankFailed&) {  // whose error is kept
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      if (!failed_) error_ = std::current_exception();
      failed_ = true;
    }
    changed_.notify_all();
  }
}

void Ranks::Meeting::wait() {
  std::unique_lock lock(ranks_.mutex_);
  if (ranks_.failed_) throw OtherRankFailed();
  if (++arrived_ == count_) {
    arrived_ = 0, ++turn_;
    lock.unlock();
    ranks_.changed_.notify_all();
    return;
  }
  ranks_.changed_.wait(lock, [&, turn = turn_] { return turn_ != turn || ranks_.failed_; });
  if (ranks_.failed_) throw OtherRankFailed();
}

}  // namespace ltxv
