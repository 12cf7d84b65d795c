#pragma once
// Kernel bodies are templates over a context: the thread's view of the machine. On a GPU the context is device_context.cuh, a thin
// layer of intrinsics; in tests it is an emulated thread (tests/kernels/emulator), so the same body runs on a CPU under randomised
// orders of warps, with every access checked. A context offers:
//   thread() block_x() block_y() block_z()          who am I
//   load<T>(p) store(p, v)                           global memory, T of 4, 8 or 16 bytes, aligned
//   load_shared<T>(offset) store_shared(offset, v)   shared memory by byte offset
//   copy_async(offset, p, valid)                     16 bytes global -> shared, zeros if not valid; lands at an unknown time
//   commit() wait<kPending>()                        groups of copies, as cp.async.commit_group and wait_group
//   sync() sync_warp() shuffle_xor(v, mask)          whole block; the warp
//   load_matrices(r, offset) load_matrices_transposed(r, offset)   ldmatrix.x4, one row address a lane
//   multiply(d, a, b0, b1)                           mma.m16n8k16, bf16 in, f32 added up
//   multiply_int8(d, a, b0, b1)                      mma.m16n8k32, s8 in, s32 added up, as bits
//   multiply_e4m3(d, a, b0, b1)                      mma.m16n8k32, e4m3 in, f32 added up
//   maximum(a, b) of numbers (a NaN loses) exp2(x) reciprocal(x) reciprocal_sqrt(x) pack_bf16(low, high) pack_e4m3(a, b, c, d)
#include <cstdint>

#ifdef __CUDACC__
#define LTXV_HD __host__ __device__ __forceinline__
#define LTXV_UNROLL _Pragma("unroll")
#define LTXV_PRAGMA(text) _Pragma(#text)
#define LTXV_UNROLL_BY(count) LTXV_PRAGMA(unroll(count))
#else
#define LTXV_HD inline
#define LTXV_UNROLL
#define LTXV_UNROLL_BY(count)
#endif

namespace ltxv::ops::gpu {

inline constexpr int32_t kWarpSize = 32;

struct alignas(16) Words4 {
  uint32_t x, y, z, w;
};
struct alignas(16) Floats4 {
  float x, y, z, w;
};
struct alignas(8) Words2 {
  uint32_t x, y;
};

LTXV_HD constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace ltxv::ops::gpu
