#pragma once
// The context of simt.h on a GPU. Offsets into shared memory count from the block's dynamic shared memory; kernels declare no other.
#include <cuda_runtime.h>

#include "cuda/numbers.h"

namespace ltxv::ops::gpu {

extern __shared__ Words4 dynamic_shared[];

struct DeviceContext {
  uint32_t shared;  ///< address of dynamic_shared in the shared window

  __device__ __forceinline__ DeviceContext() : shared(static_cast<uint32_t>(__cvta_generic_to_shared(dynamic_shared))) {}

  __device__ __forceinline__ int32_t thread() const { return static_cast<int32_t>(threadIdx.x); }
  __device__ __forceinline__ int32_t block_x() const { return static_cast<int32_t>(blockIdx.x); }
  __device__ __forceinline__ int32_t block_y() const { return static_cast<int32_t>(blockIdx.y); }
  __device__ __forceinline__ int32_t block_z() const { return static_cast<int32_t>(blockIdx.z); }

  template <class T>
  __device__ __forceinline__ T load(const T* p) const {
    return *p;
  }
  template <class T>
  __device__ __forceinline__ void store(T* p, T v) const {
    *p = v;
  }
  template <class T>
  __device__ __forceinline__ T load_shared(uint32_t offset) const {
    return *reinterpret_cast<const T*>(reinterpret_cast<const char*>(dynamic_shared) + offset);
  }
  template <class T>
  __device__ __forceinline__ void store_shared(uint32_t offset, T v) const {
    *reinterpret_cast<T*>(reinterpret_cast<char*>(dynamic_shared) + offset) = v;
  }

  __device__ __forceinline__ void copy_async(uint32_t offset, const void* from, bool valid) const {
    // A source size of 0 reads nothing and writes 16 zero bytes.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared + offset), "l"(__cvta_generic_to_global(from)),
                 "r"(valid ? 16 : 0)
                 : "memory");
  }
  __device__ __forceinline__ void commit() const { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
  template <int32_t kPending>
  __device__ __forceinline__ void wait() const {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
  }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
  __device__ __forceinline__ void sync_warp() const { __syncwarp(); }
  template <class T>
  __device__ __forceinline__ T shuffle_xor(T v, int32_t mask) const {
    return __shfl_xor_sync(0xffffffffu, v, mask);
  }

  __device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t offset) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared + offset)
                 : "memory");
  }
  __device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t offset) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared + offset)
                 : "memory");
  }
  __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }

  __device__ __forceinline__ void multiply_int8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  __device__ __forceinline__ void multiply_e4m3(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }

  /// One FMNMX; a comparison and a choice, which say the same, are two instructions.
  __device__ __forceinline__ float maximum(float a, float b) const { return fmaxf(a, b); }
  __device__ __forceinline__ float exp2(float x) const {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  __device__ __forceinline__ float reciprocal(float x) const {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  // The approximation is within 2 ulp; one Newton step would cost more than it brings before a rounding to bf16.
  __device__ __forceinline__ float reciprocal_sqrt(float x) const { return rsqrtf(x); }
  __device__ __forceinline__ uint32_t pack_bf16(float low, float high) const {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
  }
  /// Four values to four bytes, the first lowest.
  __device__ __forceinline__ uint32_t pack_e4m3(float a, float b, float c, float d) const {
#if __CUDA_ARCH__ >= 890
    uint16_t low, high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
    return static_cast<uint32_t>(high) << 16 | low;
#else
    return e4m3_bits(a) | e4m3_bits(b) << 8 | e4m3_bits(c) << 16 | e4m3_bits(d) << 24;
#endif
  }
};

}  // namespace ltxv::ops::gpu
