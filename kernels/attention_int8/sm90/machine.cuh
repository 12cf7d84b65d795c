#pragma once
// What the eight-bit body needs of the processor beside attention/sm90/machine.cuh. Needs sm_90a. Source: PTX ISA, "wgmma.mma_async".
#include "attention/sm90/machine.cuh"
#include "attention_int8/sm90/body.h"

namespace ltxv::ops::gpu::sm90 {

#define LTXV_REGISTERS_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LTXV_SUMS_8(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]), c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), c(d[i + 7])
#define LTXV_SUMS_64(c) \
  LTXV_SUMS_8(c, 0), LTXV_SUMS_8(c, 8), LTXV_SUMS_8(c, 16), LTXV_SUMS_8(c, 24), LTXV_SUMS_8(c, 32), LTXV_SUMS_8(c, 40), LTXV_SUMS_8(c, 48), LTXV_SUMS_8(c, 56)

class Int8Machine : public DeviceMachine {
 public:
  using DeviceMachine::DeviceMachine;

  __device__ float load_scale(const float* p) const { return __ldg(p); }

  /// d += a b, asynchronously: m64n128k32, s8 in, s32 out. Descriptors of K-major tiles.
  __device__ void wgmma_int8(uint32_t (&d)[64], uint64_t a, uint64_t b) const {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {" LTXV_REGISTERS_64 "}, %64, %65, 1;\n"
                 : LTXV_SUMS_64("+r")
                 : "l"(a), "l"(b));
  }
  /// d = a b + (accumulate ? d : 0), asynchronously: m64n128k32, e4m3 in, f32 out. `a`: four registers of four codes.
  __device__ void wgmma_e4m3(float (&d)[64], const uint32_t* a, uint64_t b, bool accumulate) const {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" LTXV_REGISTERS_64 "}, {%64, %65, %66, %67}, %68, p, 1, 1;\n}\n"
        : LTXV_SUMS_64("+f")
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)));
  }
  /// Four values to four codes, the first lowest.
  __device__ uint32_t pack_e4m3(float a, float b, float c, float d) const {
    uint16_t low, high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
    return static_cast<uint32_t>(high) << 16 | low;
  }
};

#undef LTXV_SUMS_64
#undef LTXV_SUMS_8
#undef LTXV_REGISTERS_64

}  // namespace ltxv::ops::gpu::sm90
