#pragma once
// The context of kernels/cuda/simt.h in the emulator.
#include <cmath>
#include <cstring>

#include "cuda/numbers.h"
#include "kernels/emulator/machine.h"

#ifdef __SANITIZE_ADDRESS__
#define LTXV_NEEDS_FIBERS() GTEST_SKIP() << "the address sanitizer does not follow jumps between stacks"
#else
#define LTXV_NEEDS_FIBERS() static_cast<void>(0)
#endif

namespace ltxv::test {

class EmulatedThread {
 public:
  EmulatedThread(Machine& machine, int32_t thread) : machine_(machine), thread_(thread) {}

  int32_t thread() const { return thread_; }
  int32_t block_x() const { return machine_.block_[0]; }
  int32_t block_y() const { return machine_.block_[1]; }
  int32_t block_z() const { return machine_.block_[2]; }

  template <class T>
  T load(const T* p) {
    machine_.global_access(thread_, p, sizeof(T), false);
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  template <class T>
  void store(T* p, T v) {
    machine_.global_access(thread_, p, sizeof(T), true);
    std::memcpy(p, &v, sizeof v);
  }
  template <class T>
  T load_shared(uint32_t offset) {
    T v{};
    check(machine_.shared_->read(offset, sizeof v, thread_ / 32, thread_, machine_.now(thread_), &v));
    return v;
  }
  template <class T>
  void store_shared(uint32_t offset, T v) {
    check(machine_.shared_->write(offset, sizeof v, thread_ / 32, thread_, machine_.now(thread_), &v));
  }

  void copy_async(uint32_t offset, const void* from, bool valid);
  void commit();
  template <int32_t kPending>
  void wait() {
    wait_for_groups(kPending);
  }
  void sync();
  void sync_warp() { slot().op = WarpOp::sync, join_warp(); }

  template <class T>
  T shuffle_xor(T v, int32_t mask) {
    static_assert(sizeof(T) <= 8);
    LaneSlot& s = slot();
    s.op = WarpOp::shuffle, s.mask = mask, s.value = 0;
    std::memcpy(&s.value, &v, sizeof v);
    join_warp();
    std::memcpy(&v, &s.value, sizeof v);
    return v;
  }
  void load_matrices(uint32_t (&r)[4], uint32_t offset) { matrices(WarpOp::load_matrices, r, offset); }
  void load_matrices_transposed(uint32_t (&r)[4], uint32_t offset) {
    matrices(WarpOp::load_matrices_transposed, r, offset);
  }
  void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { products(WarpOp::multiply, d, a, b0, b1); }
  void multiply_int8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { products(WarpOp::multiply_int8, d, a, b0, b1); }
  void multiply_e4m3(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { products(WarpOp::multiply_e4m3, d, a, b0, b1); }

  float maximum(float a, float b) { return std::fmax(a, b); }
  float exp2(float x) { return std::exp2(x); }
  float reciprocal(float x) { return 1.0f / x; }
  float reciprocal_sqrt(float x) { return 1.0f / std::sqrt(x); }
  uint32_t pack_bf16(float low, float high) { return ops::gpu::bf16_bits(low) | ops::gpu::bf16_bits(high) << 16; }
  uint32_t pack_e4m3(float a, float b, float c, float d) {
    using ops::gpu::e4m3_bits;
    return e4m3_bits(a) | e4m3_bits(b) << 8 | e4m3_bits(c) << 16 | e4m3_bits(d) << 24;
  }

 private:
  LaneSlot& slot() { return machine_.slots_[static_cast<size_t>(thread_)]; }
  void join_warp() { machine_.wait_for(thread_, Machine::State::at_warp); }
  void wait_for_groups(size_t pending);
  void matrices(WarpOp op, uint32_t (&r)[4], uint32_t offset) {
    LaneSlot& s = slot();
    s.op = op, s.offset = offset;
    join_warp();
    std::memcpy(r, s.words, sizeof s.words);
  }
  template <class Sum>
  void products(WarpOp op, Sum (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    LaneSlot& s = slot();
    s.op = op, s.b[0] = b0, s.b[1] = b1;
    std::memcpy(s.words, a, sizeof s.words);
    std::memcpy(s.sums, d, sizeof s.sums);
    join_warp();
    std::memcpy(d, s.sums, sizeof s.sums);
  }
  void check(const std::string& problem) {
    if (!problem.empty()) machine_.fail(thread_, problem);
  }

  Machine& machine_;
  int32_t thread_;
};

}  // namespace ltxv::test
