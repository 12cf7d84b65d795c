#pragma once
// wgmma.mma_async m64nNk16, bf16 times bf16 into f32: the shapes the kernel uses. Inline assembly has no loops over operands, hence the
// lists, written once each. Source: PTX ISA, "wgmma.mma_async".
#include <cstdint>

namespace ltxv::ops::gpu::sm90 {

// Operands 0 to 31 and so on, as text; and the accumulators they stand for.
#define LTXV_REGISTERS_0 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LTXV_REGISTERS_32 \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LTXV_REGISTERS_64 \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87"
#define LTXV_SUMS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LTXV_SUMS_8(i) LTXV_SUMS_4(i), LTXV_SUMS_4(i + 4)
#define LTXV_SUMS_32(i) LTXV_SUMS_8(i), LTXV_SUMS_8(i + 8), LTXV_SUMS_8(i + 16), LTXV_SUMS_8(i + 24)

/// d = a b + (accumulate ? d : 0), asynchronously. `a` and `b` are descriptors of K-major tiles in shared memory.
template <int kColumns>
__device__ void wgmma_shared(float (&d)[kColumns / 2], uint64_t a, uint64_t b, int accumulate);

/// d += a b, asynchronously. `a`: four registers of bf16 pairs; `b`: descriptor of an MN-major tile.
template <int kColumns>
__device__ void wgmma_registers(float (&d)[kColumns / 2], const uint32_t* a, uint64_t b);

template <>
__device__ __forceinline__ void wgmma_shared<128>(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LTXV_REGISTERS_0 ", " LTXV_REGISTERS_32
      "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
      : LTXV_SUMS_32(0), LTXV_SUMS_32(32)
      : "l"(a), "l"(b), "r"(accumulate));
}

template <>
__device__ __forceinline__ void wgmma_shared<176>(float (&d)[88], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %90, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n176k16.f32.bf16.bf16 {" LTXV_REGISTERS_0 ", " LTXV_REGISTERS_32 ", " LTXV_REGISTERS_64
      "}, %88, %89, p, 1, 1, 0, 0;\n}\n"
      : LTXV_SUMS_32(0), LTXV_SUMS_32(32), LTXV_SUMS_8(64), LTXV_SUMS_8(72), LTXV_SUMS_8(80)
      : "l"(a), "l"(b), "r"(accumulate));
}

template <>
__device__ __forceinline__ void wgmma_registers<64>(float (&d)[32], const uint32_t* a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LTXV_REGISTERS_0
      "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"
      : LTXV_SUMS_32(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

template <>
__device__ __forceinline__ void wgmma_registers<128>(float (&d)[64], const uint32_t* a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LTXV_REGISTERS_0 ", " LTXV_REGISTERS_32
      "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
      : LTXV_SUMS_32(0), LTXV_SUMS_32(32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef LTXV_SUMS_32
#undef LTXV_SUMS_8
#undef LTXV_SUMS_4
#undef LTXV_REGISTERS_64
#undef LTXV_REGISTERS_32
#undef LTXV_REGISTERS_0

}  // namespace ltxv::ops::gpu::sm90
