#pragma once
// The same source for the device and for tests on the host: index arithmetic as constexpr functions, and a kernel body
// that a host compiler accepts too.
#if defined(__CUDACC__)
#define LTXV_HD __host__ __device__
#define LTXV_DEVICE __device__ __forceinline__
#define LTXV_UNROLL _Pragma("unroll")
#else
#define LTXV_HD
#define LTXV_DEVICE inline
#define LTXV_UNROLL
#endif
