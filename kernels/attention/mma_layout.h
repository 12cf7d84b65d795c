#pragma once
// Where everything lies in the mma.sync attention kernel: pure index arithmetic, checked exhaustively in tests/kernels/mma_layout_test.cpp.
// Source of the fragment layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "ldmatrix".
#include "cuda/simt.h"

namespace ltxv::ops::gpu {

/// A tile in shared memory: rows of kHeadDim bf16, in chunks of 16 bytes. Chunk c of row r lies at chunk c ^ (r % 8) of its row, so
/// that the eight rows of one ldmatrix phase fall into eight different groups of four banks.
template <int32_t kHeadDim>
struct Tile {
  static constexpr int32_t kChunks = kHeadDim / 8;
  static constexpr int32_t kRowBytes = kHeadDim * 2;
  LTXV_HD static constexpr uint32_t offset(int32_t row, int32_t chunk) {
    return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row & 7)) << 4));
  }
  /// offset(row, chunk + 2 * step) from offset(row, chunk) for chunk 0 or 1: one XOR, so that a lane keeps one address, not one a step.
  LTXV_HD static constexpr uint32_t advance(uint32_t offset, int32_t step) { return offset ^ static_cast<uint32_t>(step << 5); }
};

/// Which 16-byte chunks a thread copies of a tile: the same chunk of rows `first`, first + kRowStep, ….
template <int32_t kHeadDim, int32_t kThreads>
struct CopyPlan {
  static constexpr int32_t kRowStep = kThreads / Tile<kHeadDim>::kChunks;
  static_assert(kRowStep % 8 == 0, "the swizzle must not change from step to step");
  int32_t row, chunk;
  LTXV_HD static constexpr CopyPlan of(int32_t thread) {
    return {thread / Tile<kHeadDim>::kChunks, thread % Tile<kHeadDim>::kChunks};
  }
};

/// Row and chunk that a lane names for one ldmatrix.x4 within a 16 x 16 block, the same for all three operands:
/// registers 0 to 3 are rows 0-7, rows 8-15, then the same of the second chunk.
/// q: the A operand of 16 rows.   k: rows are columns of B: {r0, r2} is B of the first 8 columns, {r1, r3} of the second.
/// v, transposed on the way: rows are k: {r0, r1} is B of the first 8 columns, {r2, r3} of the second.
struct MatrixAddress {
  int32_t row, chunk;
};
LTXV_HD constexpr MatrixAddress matrix_address(int32_t lane) { return {(lane & 7) + ((lane >> 3) & 1) * 8, lane >> 4}; }

/// Row (0-7, the other half is 8 further) and first of two columns that a lane holds of a 16 x 8 accumulator.
LTXV_HD constexpr int32_t fragment_row(int32_t lane) { return lane >> 2; }
LTXV_HD constexpr int32_t fragment_column(int32_t lane) { return (lane & 3) * 2; }

template <int32_t kHeadDimValue, int32_t kBlockNValue, bool kQueriesInRegistersValue>
struct MmaShape {
  static constexpr int32_t kHeadDim = kHeadDimValue;
  static constexpr int32_t kBlockM = 128, kBlockN = kBlockNValue, kWarps = 4;
  static constexpr bool kQueriesInRegisters = kQueriesInRegistersValue;
  static constexpr int32_t kThreads = kWarps * kWarpSize;
  static constexpr int32_t kWarpRows = kBlockM / kWarps;
  static constexpr int32_t kRowTiles = kWarpRows / 16;     ///< of 16 rows, a warp
  static constexpr int32_t kKeyTiles = kBlockN / 8;        ///< of 8 columns of scores
  static constexpr int32_t kScoreSteps = kHeadDim / 16;    ///< k steps of q k^T
  static constexpr int32_t kScoreUnroll = kQueriesInRegisters ? kScoreSteps : 2;
  static constexpr int32_t kValueTiles = kHeadDim / 8;     ///< of 8 columns of the output
  static constexpr int32_t kValueSteps = kBlockN / 16;     ///< k steps of p v
  static constexpr uint32_t kQueryOffset = 0;
  static constexpr uint32_t kKeyOffset = kBlockM * kHeadDim * 2;
  static constexpr uint32_t kValueOffset = kKeyOffset + kBlockN * kHeadDim * 2;
  static constexpr uint32_t kSharedBytes = kValueOffset + kBlockN * kHeadDim * 2;
};
// A width of 128 with queries in registers and 64 keys a tile needs 128 (output) + 64 (scores) + 64 registers before anything else.
// So queries are read again for every tile, tiles are 32 keys wide, and the loop over k is unrolled by two only: unrolled whole,
// ptxas hoists so many loads that it spills. 48 KiB of shared memory leave room for two blocks on sm_86 and sm_89.
using MmaShape64 = MmaShape<64, 64, true>;
using MmaShape128 = MmaShape<128, 32, false>;

}  // namespace ltxv::ops::gpu
