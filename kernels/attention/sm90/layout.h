#pragma once
// Where elements lie: in shared memory under the 128-byte swizzle, and in the registers of a warpgroup. Everything here
// is constexpr and tested exhaustively on the host (tests/kernels/sm90/layout_test.cpp).
#include <cstdint>

#include "cuda/simt.h"

namespace ltxv::ops::gpu::sm90 {

inline constexpr int kGroupWarps = 4;  // wgmma is issued by four warps together
inline constexpr int kGroupThreads = kGroupWarps * kWarpSize;
inline constexpr int kGroupRows = 64;                            // rows of one wgmma
inline constexpr int kStepDepth = 16;                            // the K of one bf16 wgmma
inline constexpr int kElementBytes = 2;                          // bf16
inline constexpr int kRowBytes = 128;                            // a row of a swizzled tile
inline constexpr int kChunkColumns = kRowBytes / kElementBytes;  // 64: wider tiles are chunks beside each other
inline constexpr int kAtomBytes = 8 * kRowBytes;                 // the swizzle repeats every 8 rows

/// Byte offset of (row, column) in a tile of `rows` rows: chunks of 64 columns one after the other, in each a row of
/// 128 bytes, and in each row the 16-byte pieces permuted by the row's number modulo 8. The tile starts at a multiple
/// of 1024 bytes. Source: PTX ISA, "Tensor swizzling modes", 128-byte mode with 16-byte atoms.
LTXV_HD constexpr int swizzled_offset(int row, int column, int rows) {
  const int chunk = column / kChunkColumns, in_row = column % kChunkColumns * kElementBytes;
  return chunk * rows * kRowBytes + row * kRowBytes + (in_row ^ (row % 8 * 16));
}

/// One element of a wgmma accumulator m64nNk16, seen from thread `thread` of the warpgroup and its register `index`.
/// Source: PTX ISA, "Register fragments for wgmma.mma_async.m64nNk16", matrix D.
struct Element {
  int row, column;
};
LTXV_HD constexpr int accumulator_row(int thread, int index) {
  return thread / kWarpSize * 16 + thread % kWarpSize / 4 + index / 2 % 2 * 8;
}
LTXV_HD constexpr int accumulator_column(int thread, int index) { return index / 4 * 8 + thread % 4 * 2 + index % 2; }
LTXV_HD constexpr Element accumulator_element(int thread, int index) {
  return {accumulator_row(thread, index), accumulator_column(thread, index)};
}

/// Which of a thread's two rows (0: upper, 1: eight below) accumulator register `index` belongs to.
LTXV_HD constexpr int accumulator_half(int index) { return index / 2 % 2; }

/// One element of a wgmma A operand m64k16 held in registers: four 32-bit registers of two bf16 each; index = 2 *
/// register + (0 low half, 1 high half). Source: the same section, matrix A for .bf16.
LTXV_HD constexpr Element operand_element(int thread, int index) {
  return {thread / kWarpSize * 16 + thread % kWarpSize / 4 + index / 2 % 2 * 8,
          index / 4 * 8 + thread % 4 * 2 + index % 2};
}

}  // namespace ltxv::ops::gpu::sm90
