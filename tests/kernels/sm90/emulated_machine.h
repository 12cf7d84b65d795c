#pragma once
// The kernel body's processor on the host: one thread of an emulated block.
#include <algorithm>
#include <cmath>

#include "kernels/sm90/hopper_block.h"

namespace ltxv::test {

class EmulatedMachine {
 public:
  struct Place {
    int query_tile, head, batch;
  };
  EmulatedMachine(HopperBlock& block, int thread, int block_threads, Place place)
      : block_(block), thread_(thread), block_threads_(block_threads), place_(place) {}

  int thread() const { return thread_; }
  int lane() const { return thread_ % ops::gpu::kWarpSize; }
  int group_thread() const { return thread_ % ops::gpu::sm90::kGroupThreads; }
  bool is_producer() const { return thread_ < ops::gpu::sm90::kGroupThreads; }
  int consumer() const { return thread_ / ops::gpu::sm90::kGroupThreads - 1; }
  int query_tile() const { return place_.query_tile; }
  int head() const { return place_.head; }
  int batch() const { return place_.batch; }
  uint32_t address(int offset) const { return block_.base() + static_cast<uint32_t>(offset); }
  int load_length(const int32_t* length) const { return *length; }

  void init_barrier(int barrier, int count) { block_.init_barrier(barrier, count); }
  void init_fence() {}
  void arrive(int barrier) { block_.arrive(barrier, 0); }
  void expect_bytes(int barrier, int bytes) { block_.arrive(barrier, bytes); }
  void wait(int barrier, uint32_t phase) { block_.wait(barrier, phase); }

  void block_sync() {
    // All threads of the block; barrier 0 is __syncthreads.
    block_.named(0, block_threads_, true);
  }
  void warp_sync() { block_.warp_sync(thread_); }
  void named_sync(int barrier, int threads) { block_.named(barrier, threads, true); }
  void named_arrive(int barrier, int threads) { block_.named(barrier, threads, false); }

  void prefetch_maps() {}
  void load(ops::gpu::sm90::Operand operand, int offset, int barrier, int row, int chunk, int batch) {
    block_.load(operand, offset, barrier, {0, chunk, row, batch});
  }
  void store(ops::gpu::sm90::Operand operand, int offset, int row, int chunk, int batch) {
    block_.store(thread_, operand, offset, {0, chunk, row, batch});
  }
  void store_wait() { block_.store_wait(thread_); }

  void store_shared(int offset, uint32_t value) { block_.write(thread_, offset, &value, 4); }
  void clear_shared(int offset) {
    constexpr uint32_t kZeros[4] = {};
    block_.write(thread_, offset, kZeros, 16);
  }
  void async_fence() { block_.async_fence(thread_); }

  void wgmma_fence() { block_.wgmma_fence(thread_); }
  void wgmma_commit() { block_.wgmma_commit(thread_); }
  template <int kPending>
  void wgmma_wait() {
    block_.wgmma_wait(thread_, kPending);
  }
  template <int kColumns>
  void wgmma_shared(float (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) {
    block_.wgmma(thread_, d, kColumns, nullptr, a, b, accumulate);
  }
  template <int kColumns>
  void wgmma_registers(float (&d)[kColumns / 2], const uint32_t* a, uint64_t b) {
    block_.wgmma(thread_, d, kColumns, a, 0, b, true);
  }
  void compute_now(float) {}
  template <int>
  void give_registers() {}
  template <int>
  void take_registers() {}

  float larger(float a, float b) const { return std::fmax(a, b); }
  float power_of_two(float x) const { return std::exp2(x); }
  float quad_largest(float x) { return block_.quad(thread_, x, false); }
  float quad_sum(float x) { return block_.quad(thread_, x, true); }
  uint32_t pack(float low, float high) const { return static_cast<uint32_t>(to_bf16(high)) << 16 | to_bf16(low); }

  // The eight-bit body's.
  float load_scale(const float* scale) const { return *scale; }
  void wgmma_int8(uint32_t (&d)[64], uint64_t a, uint64_t b) {
    block_.wgmma(thread_, reinterpret_cast<float*>(d), 128, nullptr, a, b, true, Product8::int8);
  }
  void wgmma_e4m3(float (&d)[64], const uint32_t* a, uint64_t b, bool accumulate) {
    block_.wgmma(thread_, d, 128, a, 0, b, accumulate, Product8::e4m3);
  }
  uint32_t pack_e4m3(float a, float b, float c, float d) const {
    using ops::gpu::e4m3_bits;
    return e4m3_bits(a) | e4m3_bits(b) << 8 | e4m3_bits(c) << 16 | e4m3_bits(d) << 24;
  }

 private:
  HopperBlock& block_;
  int thread_, block_threads_;
  Place place_;
};

}  // namespace ltxv::test
