// A jump from one stack to another is what fibers are; the checked longjmp takes it for an error.
#undef _FORTIFY_SOURCE
#include "kernels/emulator/machine.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>

#include "kernels/emulator/emulated_thread.h"

namespace ltxv::test {
namespace {

constexpr size_t kStackBytes = 128 * 1024;

// The fiber that is being started; makecontext passes no pointers portably.
struct Start {
  Machine* machine = nullptr;
  int32_t thread = 0;
};
Start& starting() {
  static Start start;
  return start;
}

}  // namespace

struct Machine::Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  jmp_buf point, scheduler;
  ucontext_t start, back;
  bool started = false;
};

Machine::Machine(uint32_t seed) : random_(seed) {}
Machine::~Machine() = default;

void Machine::enter() {
  const Start start = starting();
  Machine& m = *start.machine;
  EmulatedThread thread(m, start.thread);
  (*m.body_)(thread);
  m.states_[static_cast<size_t>(start.thread)] = State::done;
  ++m.done_;
  _longjmp(m.fibers_[static_cast<size_t>(start.thread)]->scheduler, 1);
}

// Back to the scheduler; returns when the thread is picked again. setjmp after the first entry: swapcontext asks the kernel twice.
void Machine::wait_for(int32_t thread, State why) {
  const auto t = static_cast<size_t>(thread);
  states_[t] = why;
  if (why == State::at_warp) {
    if (++warp_arrived_[t / 32] == 32) finish_warp_op(thread / 32);
  } else if (++arrived_ == thread_count_) {
    release_block();
  }
  Fiber& fiber = *fibers_[t];
  if (_setjmp(fiber.point) == 0) _longjmp(fiber.scheduler, 1);
}

void Machine::note(const std::string& what) {
  if (error_.empty())
    error_ = "block " + std::to_string(block_[0]) + "," + std::to_string(block_[1]) + "," + std::to_string(block_[2]) + " " + what;
}

void Machine::fail(int32_t thread, const std::string& what) {
  note("thread " + std::to_string(thread) + ": " + what);
  _longjmp(fibers_[static_cast<size_t>(thread)]->scheduler, 1);  // never picked again
}

void Machine::release_warp(int32_t warp) {
  warp_arrived_[static_cast<size_t>(warp)] = 0;
  for (int32_t lane = 0; lane < 32; ++lane) {
    const int32_t thread = warp * 32 + lane;
    states_[static_cast<size_t>(thread)] = State::ready;
    ready_.push_back(thread);
  }
}

void Machine::release_block() {
  arrived_ = 0;
  ++epoch_;
  ++counts.syncs;
  for (int32_t thread = 0; thread < thread_count_; ++thread) {
    states_[static_cast<size_t>(thread)] = State::ready;
    ready_.push_back(thread);
  }
}

// Some runs let one warp rush ahead as far as the barriers allow, others mix all lanes.
int32_t Machine::pick() {
  const auto draw = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); };
  size_t at = draw(ready_.size());
  if (favourite_ >= 0)
    for (size_t tries = 0; tries < ready_.size() && ready_[at] / 32 != favourite_; ++tries) at = (at + 1) % ready_.size();
  const int32_t thread = ready_[at];
  ready_[at] = ready_.back();
  ready_.pop_back();
  return thread;
}

// Runs a thread until it waits, ends or fails. Nothing of this frame is used after the jump back.
void Machine::resume(int32_t thread) {
  Fiber& fiber = *fibers_[static_cast<size_t>(thread)];
  if (_setjmp(fiber.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.point, 1);
  fiber.started = true;
  starting() = {this, thread};
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, &Machine::enter, 0);
  swapcontext(&fiber.back, &fiber.start);
}

void Machine::run_block(int32_t threads, uint32_t shared_bytes, const Body& body) {
  const auto count = static_cast<size_t>(threads);
  shared_ = std::make_unique<SharedMemory>(shared_bytes);
  slots_.assign(count, {});
  states_.assign(count, State::ready);
  fences_.assign(count / 32, 0);
  warp_arrived_.assign(count / 32, 0);
  waits_.assign(count, 0);
  syncs_.assign(count, 0);
  copies_.assign(count, {{}});
  epoch_ = arrived_ = done_ = 0;
  thread_count_ = threads;
  while (fibers_.size() < count) fibers_.push_back(std::make_unique<Fiber>());
  ready_.clear();
  for (int32_t thread = 0; thread < threads; ++thread) fibers_[static_cast<size_t>(thread)]->started = false, ready_.push_back(thread);
  const auto warps = static_cast<int32_t>(count / 32);
  favourite_ = std::uniform_int_distribution<int32_t>(-1, warps - 1)(random_);
  body_ = &body;
  while (error_.empty() && !ready_.empty()) resume(pick());
  if (error_.empty() && done_ != threads) note("hangs: " + std::to_string(threads - done_) + " threads wait for others that never come");
}

std::string Machine::run(Grid grid, int32_t threads, uint32_t shared_bytes, const Body& body) {
  error_.clear();
  for (auto& region : regions_) std::fill(region.written.begin(), region.written.end(), false);
  for (int32_t z = 0; z < grid.z; ++z)
    for (int32_t y = 0; y < grid.y; ++y)
      for (int32_t x = 0; x < grid.x && error_.empty(); ++x) {
        block_[0] = x, block_[1] = y, block_[2] = z;
        run_block(threads, shared_bytes, body);
      }
  return error_;
}

void Machine::global_access(int32_t thread, const void* p, size_t bytes, bool write) {
  const auto* at = static_cast<const char*>(p);
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) fail(thread, "misaligned access of " + std::to_string(bytes) + " bytes");
  for (auto& region : regions_) {
    if (at < region.begin || at + bytes > region.begin + region.bytes) continue;
    if (!write) return;
    if (!region.writable) fail(thread, "writes to an input");
    const auto first = static_cast<size_t>(at - region.begin);
    for (size_t i = first; i < first + bytes; ++i) {
      if (region.written[i]) fail(thread, "byte " + std::to_string(i) + " of an output is written twice");
      region.written[i] = true;
    }
    return;
  }
  fail(thread, write ? "writes outside of every buffer" : "reads outside of every buffer");
}

void EmulatedThread::copy_async(uint32_t offset, const void* from, bool valid) {
  if (valid) machine_.global_access(thread_, from, 16, false);
  check(machine_.shared_->begin_copy(offset, 16, thread_ / 32, thread_, machine_.now(thread_)));
  machine_.copies_[static_cast<size_t>(thread_)].back().push_back({offset, from, valid});
  ++machine_.counts.copies;
}

void EmulatedThread::commit() { machine_.copies_[static_cast<size_t>(thread_)].emplace_back(); }

void EmulatedThread::wait_for_groups(size_t pending) {
  if (machine_.waits_[static_cast<size_t>(thread_)]++ == machine_.dropped_wait) return;
  static constexpr char kZeros[16] = {};
  auto& groups = machine_.copies_[static_cast<size_t>(thread_)];  // the last is open and not waited for
  while (groups.size() > pending + 1) {
    for (const auto& copy : groups.front())
      machine_.shared_->land(copy.offset, 16, machine_.now(thread_), copy.valid ? copy.from : kZeros);
    groups.erase(groups.begin());
  }
}

void EmulatedThread::sync() {
  if (machine_.syncs_[static_cast<size_t>(thread_)]++ == machine_.dropped_sync) return;
  machine_.wait_for(thread_, Machine::State::at_block);
}

}  // namespace ltxv::test
