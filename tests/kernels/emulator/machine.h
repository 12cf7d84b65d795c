#pragma once
// Runs kernel bodies (kernels/cuda/simt.h) on a CPU: every GPU thread is a fiber of its own, warps advance in random order, and lanes
// of a warp meet only where the hardware makes them meet. Every access to memory is checked. What is emulated is the contract of the
// PTX instructions, not their speed: fragment layouts, groups of asynchronous copies, barriers.
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/emulator/shared_memory.h"

namespace ltxv::test {

/// How many times each instruction ran, over all warps.
struct Counts {
  int64_t multiplies = 0, matrix_loads = 0, bank_conflicts = 0, syncs = 0, copies = 0;
};

struct Grid {
  int32_t x = 1, y = 1, z = 1;
};

enum class WarpOp { none, shuffle, sync, load_matrices, load_matrices_transposed, multiply, multiply_int8, multiply_e4m3 };

/// What one lane brings to an operation of its warp, and takes from it.
struct LaneSlot {
  WarpOp op = WarpOp::none;
  int32_t mask = 0;
  uint32_t offset = 0;
  uint64_t value = 0;
  uint32_t words[4] = {}, b[2] = {};
  float sums[4] = {};
};

class Machine {
 public:
  explicit Machine(uint32_t seed = 1);
  ~Machine();

  /// Global memory that kernels may use. Each byte may be written once a run: two threads that write the same place are a defect.
  void readable(const void* p, size_t bytes) { regions_.push_back({static_cast<const char*>(p), bytes, false, {}}); }
  void writable(void* p, size_t bytes) {
    regions_.push_back({static_cast<const char*>(p), bytes, true, std::vector<bool>(bytes)});
  }

  /// For tests of the emulator: leaves out the n-th block sync, or the n-th wait for copies of every thread, of each block.
  int32_t dropped_sync = -1, dropped_wait = -1;

  /// Runs the body for every thread of every block. Returns "" or the first defect found.
  using Body = std::function<void(class EmulatedThread&)>;
  std::string run(Grid grid, int32_t threads, uint32_t shared_bytes, const Body& body);
  Counts counts;

 private:
  friend class EmulatedThread;
  struct Region {
    const char* begin;
    size_t bytes;
    bool writable;
    std::vector<bool> written;
  };
  struct Copy {
    uint32_t offset;
    const void* from;
    bool valid;
  };
  struct Fiber;
  enum class State { ready, at_warp, at_block, done };

  void run_block(int32_t threads, uint32_t shared_bytes, const Body& body);
  __attribute__((noinline)) void resume(int32_t thread);
  void wait_for(int32_t thread, State why);
  void release_warp(int32_t warp);
  void release_block();
  void finish_warp_op(int32_t warp);
  void load_matrices(int32_t warp, bool transposed);
  void multiply(int32_t warp);
  void multiply_bytes(int32_t warp, WarpOp op);
  int32_t pick();
  [[noreturn]] void fail(int32_t thread, const std::string& what);
  void note(const std::string& what);
  void global_access(int32_t thread, const void* p, size_t bytes, bool write);
  Moment now(int32_t thread) const { return {epoch_, fences_[static_cast<size_t>(thread / 32)]}; }
  static void enter();

  std::mt19937 random_;
  std::vector<Region> regions_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<LaneSlot> slots_;
  std::vector<State> states_;
  std::vector<int32_t> ready_, fences_;
  std::vector<std::vector<std::vector<Copy>>> copies_;  // [thread][group]; the last group is open
  std::vector<int32_t> waits_, syncs_;
  std::unique_ptr<SharedMemory> shared_;
  int32_t epoch_ = 0, favourite_ = -1, arrived_ = 0, done_ = 0, thread_count_ = 0;
  std::vector<int32_t> warp_arrived_;
  int32_t block_[3] = {};
  std::string error_;
  const Body* body_ = nullptr;
};

}  // namespace ltxv::test
