#include "kernels/sm90/fibers.h"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace ltxv::test {
namespace {
constexpr size_t kStackBytes = 128 << 10;
constexpr double kUniformStep = 0.1;  // with priorities: else two fibers that wait for each other's luck could spin
}  // namespace

Fibers::Fibers(uint64_t seed, Order order) : random_(seed), order_(order) {
  event_chance_ = std::uniform_real_distribution<>(0.02, 0.9)(random_);
}

void Fibers::add(std::function<void()> body, int team) {
  auto& fiber = fibers_.emplace_back();
  fiber.body = std::move(body);
  fiber.team = team;
}

void Fibers::set_events(std::function<size_t()> pending, std::function<void(size_t)> step) {
  pending_ = std::move(pending);
  event_ = std::move(step);
}

// makecontext passes ints only, hence the pointer in halves.
void Fibers::enter(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<Fibers*>(static_cast<uintptr_t>(high) << 32 | low);
  self->start(self->current_);
}

void Fibers::start(int index) {
  try {
    fibers_[index].body();
  } catch (...) {
    if (!error_) error_ = std::current_exception();
  }
  fibers_[index].done = true;
  --alive_;
  swapcontext(&fibers_[index].context, &main_);
}

void Fibers::switch_out() { swapcontext(&fibers_[current_].context, &main_); }

void Fibers::block(const char* what) {
  fibers_[current_].waits_for = what;
  switch_out();
}

void Fibers::notify(Condition& condition) {
  runnable_.insert(runnable_.end(), condition.waiting.begin(), condition.waiting.end());
  condition.waiting.clear();
}

void Fibers::maybe_pass(double chance) {
  if (std::uniform_real_distribution<>()(random_) >= chance) return;
  runnable_.push_back(current_);
  switch_out();
}

size_t Fibers::pick_fiber() {
  const size_t any = std::uniform_int_distribution<size_t>(0, runnable_.size() - 1)(random_);
  if (order_ == Order::uniform || std::uniform_real_distribution<>()(random_) < kUniformStep) return any;
  size_t best = any;
  for (size_t i = 0; i < runnable_.size(); ++i)
    if (priority_[fibers_[runnable_[i]].team] > priority_[fibers_[runnable_[best]].team]) best = i;
  return best;
}

void Fibers::step() {
  const size_t events = pending_ ? pending_() : 0;
  bool event = events != 0 && (runnable_.empty() || std::uniform_real_distribution<>()(random_) < event_chance_);
  if (runnable_.empty() && !event) {
    std::map<std::string, int> waits;
    for (const auto& fiber : fibers_)
      if (!fiber.done) ++waits[fiber.waits_for];
    std::string text = "deadlock:";
    for (const auto& [what, count] : waits) text += " " + std::to_string(count) + " threads wait for " + what + ";";
    throw std::runtime_error(text);
  }
  size_t fiber = 0;
  if (!runnable_.empty()) {
    fiber = pick_fiber();
    // Events that rank below the fiber wait, as long as there is a fiber to run.
    if (event && order_ == Order::priorities && priority_.back() < priority_[fibers_[runnable_[fiber]].team] &&
        std::uniform_real_distribution<>()(random_) >= kUniformStep)
      event = false;
  }
  if (event) {
    event_(std::uniform_int_distribution<size_t>(0, events - 1)(random_));
    return;
  }
  current_ = runnable_[fiber];
  runnable_[fiber] = runnable_.back();
  runnable_.pop_back();
  swapcontext(&main_, &fibers_[current_].context);
  current_ = -1;
}

void Fibers::prepare(Fiber& fiber, char* stack) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = &main_;
  const auto self = reinterpret_cast<uintptr_t>(this);
  makecontext(&fiber.context, reinterpret_cast<void (*)()>(enter), 2, static_cast<unsigned>(self >> 32),
              static_cast<unsigned>(self));
}

void Fibers::run() {
  stacks_.reset(new char[fibers_.size() * kStackBytes]);
  int teams = 0;
  for (size_t i = 0; i < fibers_.size(); ++i) {
    prepare(fibers_[i], stacks_.get() + i * kStackBytes);
    runnable_.push_back(static_cast<int>(i));
    teams = std::max(teams, fibers_[i].team + 1);
  }
  for (int i = 0; i <= teams; ++i) priority_.push_back(std::uniform_real_distribution<>()(random_));
  alive_ = fibers_.size();
  while ((alive_ != 0 || (pending_ && pending_() != 0)) && !error_) step();
  if (error_) std::rethrow_exception(error_);
}

}  // namespace ltxv::test
