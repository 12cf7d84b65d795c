#pragma once
// The 64-bit words that tell wgmma where a matrix lies in shared memory.
// Source: PTX ISA, "Matrix descriptor format" of wgmma: bits 0-13 start address / 16, 16-29 leading dimension byte
// offset / 16, 32-45 stride dimension byte offset / 16, 49-51 base offset, 62-63 swizzle (1: 128 bytes).
#include "attention/sm90/layout.h"

namespace ltxv::ops::gpu::sm90 {

inline constexpr uint64_t kSwizzle128 = 1;

/// Base offset 0: every tile starts at a multiple of 1024 bytes, where the swizzle pattern begins.
LTXV_HD constexpr uint64_t matrix_descriptor(uint32_t start, uint32_t leading_bytes, uint32_t stride_bytes) {
  return static_cast<uint64_t>((start & 0x3FFFF) >> 4) | static_cast<uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4) << 32 | kSwizzle128 << 62;
}

/// K-major: a row of the tile is a row (or column) of the product, its columns are the dimension summed over. Eight
/// rows further are 1024 bytes; the leading offset is not used in this mode and is 16 by convention.
LTXV_HD constexpr uint64_t row_operand(uint32_t start) { return matrix_descriptor(start, 16, kAtomBytes); }

/// Bytes from the start of a K-major tile of `rows` rows to its `step`-th 16 columns. Inside a chunk the address moves
/// by 32 bytes: the hardware permutes by address bits, so the permutation still fits.
LTXV_HD constexpr uint32_t row_operand_step(int step, int rows) {
  return static_cast<uint32_t>(step * kStepDepth / kChunkColumns * rows * kRowBytes +
                               step * kStepDepth % kChunkColumns * kElementBytes);
}

/// MN-major: rows of the tile are the dimension summed over, its columns are columns of the product (V as it lies).
/// Eight rows further are 1024 bytes (stride), the next 64 columns one chunk (leading).
LTXV_HD constexpr uint64_t column_operand(uint32_t start, int rows) {
  return matrix_descriptor(start, static_cast<uint32_t>(rows * kRowBytes), kAtomBytes);
}

/// Bytes from the start of an MN-major tile to its `step`-th 16 rows.
LTXV_HD constexpr uint32_t column_operand_step(int step) {
  return static_cast<uint32_t>(step * kStepDepth * kRowBytes);
}

/// The descriptor moved by a number of bytes (a multiple of 16 that stays inside shared memory).
LTXV_HD constexpr uint64_t moved(uint64_t descriptor, uint32_t bytes) { return descriptor + (bytes >> 4); }

}  // namespace ltxv::ops::gpu::sm90
