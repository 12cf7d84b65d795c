#pragma once
// The body's processor on the GPU: one PTX instruction behind each name. Needs sm_90a.
#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_bf16.h>

#include "attention/sm90/body.h"
#include "attention/sm90/wgmma.cuh"

namespace ltxv::ops::gpu::sm90 {

struct TensorMaps {
  CUtensorMap query, key, value, output;
};

class DeviceMachine {
 public:
  /// `shared`: the launch's dynamic shared memory. Barriers lie `barriers` bytes behind its base.
  __device__ DeviceMachine(const TensorMaps& maps, void* shared, int barriers)
      : maps_(maps), barriers_(static_cast<uint32_t>(barriers)) {
    const auto start = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    base_ = (start + kAtomBytes - 1) / kAtomBytes * kAtomBytes;
    // Told by one lane to all: the compiler then keeps what follows from it, descriptors above all, in uniform
    // registers.
    group_ = __shfl_sync(0xFFFFFFFF, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  }

  // Who and where.
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int lane() const { return thread() % kWarpSize; }
  __device__ int group_thread() const { return thread() % kGroupThreads; }
  __device__ bool is_producer() const { return group_ == 0; }
  __device__ int consumer() const { return group_ - 1; }
  __device__ int query_tile() const { return static_cast<int>(blockIdx.x); }
  __device__ int head() const { return static_cast<int>(blockIdx.y); }
  __device__ int batch() const { return static_cast<int>(blockIdx.z); }
  __device__ uint32_t address(int offset) const { return base_ + static_cast<uint32_t>(offset); }
  __device__ int load_length(const int32_t* length) const { return __ldg(length); }

  // Barriers in shared memory.
  __device__ void init_barrier(int barrier, int count) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at(barrier)), "r"(count) : "memory");
  }
  __device__ void init_fence() const {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
  }
  __device__ void arrive(int barrier) const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at(barrier)) : "memory");
  }
  __device__ void expect_bytes(int barrier, int bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at(barrier)), "r"(bytes) : "memory");
  }
  __device__ void wait(int barrier, uint32_t phase) const {
    uint32_t done;
    do {
      asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.b32 %0, 1, 0, p;\n}"
                   : "=r"(done)
                   : "r"(at(barrier)), "r"(phase)
                   : "memory");
    } while (done == 0);
  }

  // Barriers of threads.
  __device__ void block_sync() const { __syncthreads(); }
  __device__ void warp_sync() const { __syncwarp(); }
  __device__ void named_sync(int barrier, int threads) const {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
  }
  __device__ void named_arrive(int barrier, int threads) const {
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
  }

  // The copy engine. Coordinates of a map: column in a chunk (always 0), chunk, row, batch.
  __device__ void prefetch_maps() const {
    for (const auto operand : {Operand::query, Operand::key, Operand::value, Operand::output})
      asm volatile("prefetch.tensormap [%0];" ::"l"(&map(operand)) : "memory");
  }
  __device__ void load(Operand operand, int offset, int barrier, int row, int chunk, int batch) const {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
        "[%2];" ::"r"(address(offset)),
        "l"(&map(operand)), "r"(at(barrier)), "r"(0), "r"(chunk), "r"(row), "r"(batch)
        : "memory");
  }
  __device__ void store(Operand operand, int offset, int row, int chunk, int batch) const {
    asm volatile(
        "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%1, {%2, %3, %4, %5}], [%0];" ::"r"(address(offset)),
        "l"(&map(operand)), "r"(0), "r"(chunk), "r"(row), "r"(batch)
        : "memory");
  }
  __device__ void store_wait() const {
    asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;" ::: "memory");
  }

  // Shared memory by hand; the fence makes it seen by wgmma and the copy engine.
  __device__ void store_shared(int offset, uint32_t value) const {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(address(offset)), "r"(value) : "memory");
  }
  __device__ void clear_shared(int offset) const {
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address(offset)), "r"(0) : "memory");
  }
  __device__ void async_fence() const { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

  // Matrix products.
  __device__ void wgmma_fence() const { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
  __device__ void wgmma_commit() const { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
  template <int kPending>
  __device__ void wgmma_wait() const {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
  }
  template <int kColumns>
  __device__ void wgmma_shared(float (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) const {
    sm90::wgmma_shared<kColumns>(d, a, b, accumulate);
  }
  template <int kColumns>
  __device__ void wgmma_registers(float (&d)[kColumns / 2], const uint32_t* a, uint64_t b) const {
    sm90::wgmma_registers<kColumns>(d, a, b);
  }
  /// What `sum` (never negative) depends on is computed before what follows. ptxas sees no dependence between the
  /// exponentials and the next wait and moves the wait first, so that the matrix unit idles under them; it does not
  /// move a wait over a store, not even over one that never happens.
  __device__ void compute_now(float sum) const {
    asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n@p st.shared.f32 [%1], %0;\n}" ::"f"(sum),
                 "r"(base_)
                 : "memory");
  }
  template <int kRegisters>
  __device__ void give_registers() const {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
  }
  template <int kRegisters>
  __device__ void take_registers() const {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
  }

  // Arithmetic.
  __device__ float larger(float a, float b) const { return fmaxf(a, b); }
  __device__ float power_of_two(float x) const {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  __device__ float quad_largest(float x) const {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFF, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFF, x, 2));
  }
  __device__ float quad_sum(float x) const {
    x += __shfl_xor_sync(0xFFFFFFFF, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFF, x, 2);
  }
  /// Two floats as bf16, round to nearest even, the first in the low half.
  __device__ uint32_t pack(float low, float high) const {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
  }

 private:
  __device__ uint32_t at(int barrier) const { return base_ + barriers_ + 8 * static_cast<uint32_t>(barrier); }
  __device__ const CUtensorMap& map(Operand operand) const {
    return operand == Operand::query   ? maps_.query
           : operand == Operand::key   ? maps_.key
           : operand == Operand::value ? maps_.value
                                       : maps_.output;
  }

  const TensorMaps& maps_;
  uint32_t barriers_, base_;
  int group_;
};

}  // namespace ltxv::ops::gpu::sm90
