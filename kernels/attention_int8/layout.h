#pragma once
// Where everything lies in the eight-bit attention kernels: pure index arithmetic, checked exhaustively in tests/kernels/int8_layout_test.cpp.
// Source of the fragment layouts: PTX ISA, "Matrix Fragments for mma.m16n8k32". A register of four bytes takes the place of one of two
// bf16, so ldmatrix and the lanes' addresses are those of attention/mma_layout.h, with 32 steps of k instead of 16.
#include "attention/mma_layout.h"

namespace ltxv::ops::gpu {

/// A tile in shared memory: rows of kRowBytes (32, 64 or 128), in chunks of 16 bytes. 128 bytes are all banks once; the chunk is swizzled
/// by the number of that line, so that the eight rows of one ldmatrix phase fall into eight different groups of four banks.
template <int32_t kRowBytesValue>
struct ByteTile {
  static constexpr int32_t kRowBytes = kRowBytesValue, kChunks = kRowBytes / 16, kRowsALine = 128 / kRowBytes;
  static_assert(kRowBytes == 32 || kRowBytes == 64 || kRowBytes == 128);
  LTXV_HD static constexpr uint32_t offset(int32_t row, int32_t chunk) {
    return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row / kRowsALine & (kChunks - 1))) << 4));
  }
  /// offset(row, chunk + 2 * step) from offset(row, chunk) for chunk 0 or 1.
  LTXV_HD static constexpr uint32_t advance(uint32_t offset, int32_t step) { return offset ^ static_cast<uint32_t>(step << 5); }
};

/// Which 16-byte chunks a thread copies of a tile: the same chunk of rows `row`, row + kRowStep, ….
template <int32_t kRowBytes, int32_t kThreads>
struct ByteCopyPlan {
  static constexpr int32_t kChunks = kRowBytes / 16, kRowStep = kThreads / kChunks;
  static_assert(kRowStep % 8 == 0, "the swizzle must not change from step to step");
  int32_t row, chunk;
  LTXV_HD static constexpr ByteCopyPlan of(int32_t thread) { return {thread / kChunks, thread % kChunks}; }
};

// Sums of at most 127^2 * 128 products that start at these bits are, taken for the bits of a float, 12582912 + the sum: no conversions,
// which would cost as much as the exponentials.
inline constexpr uint32_t kInt8BiasBits = 0x4b400000u;
inline constexpr float kInt8Bias = 12582912.0f;
inline constexpr float kInt8WeightExponent = 8;  ///< the largest weight of a row is 2^8

/// The key that lies at position p (of 32) of a group of values' tokens. A lane's scores are columns 2t and 2t+1 of tiles of eight keys;
/// as the first operand of the second product it must hold k = 4t to 4t+3 and 16+4t to 19+4t. With the values in this order the scores of
/// four tiles are that operand, and nothing moves between lanes.
LTXV_HD constexpr int32_t key_at(int32_t position) {
  const int32_t half = position / 16, lane = position % 16 / 4, pair = position % 4 / 2;
  return half * 16 + pair * 8 + lane * 2 + position % 2;
}

/// Tokens of keys with one scale; keys are padded to two of them, queries to whole blocks.
inline constexpr int32_t kInt8KeyTile = 64, kInt8QueryBlock = 128;
/// Parts of the tokens that key means and value maxima are gathered over first.
inline constexpr int32_t kInt8Parts = 32;

template <int32_t kHeadDimValue, int32_t kBlockNValue>
struct Int8Shape {
  static constexpr int32_t kHeadDim = kHeadDimValue, kBlockM = kInt8QueryBlock, kBlockN = kBlockNValue;
  static constexpr int32_t kWarps = 4, kThreads = kWarps * kWarpSize, kWarpRows = kBlockM / kWarps;
  static constexpr int32_t kRowTiles = kWarpRows / 16;   ///< of 16 rows, a warp
  static constexpr int32_t kKeyTiles = kBlockN / 8;      ///< of 8 columns of scores
  static constexpr int32_t kScoreSteps = kHeadDim / 32;  ///< k steps of q k^T
  static constexpr int32_t kValueTiles = kHeadDim / 8;   ///< of 8 columns of the output
  static constexpr int32_t kValueSteps = kBlockN / 32;   ///< k steps of p v
  using QueryTile = ByteTile<kHeadDim>;                  ///< also of keys
  using ValueTile = ByteTile<kBlockN>;                   ///< a row a channel
  using OutTile = Tile<kHeadDim>;                        ///< bf16
  static constexpr uint32_t kQueryOffset = 0;
  static constexpr uint32_t kKeyOffset = kBlockM * kHeadDim;
  static constexpr uint32_t kValueOffset = kKeyOffset + kBlockN * kHeadDim;
  static constexpr uint32_t kTilesEnd = kValueOffset + kBlockN * kHeadDim;
  static constexpr uint32_t kOutBytes = kBlockM * kHeadDim * 2;  ///< over the tiles, when nobody reads them any more
  static constexpr uint32_t kSharedBytes = kTilesEnd > kOutBytes ? kTilesEnd : kOutBytes;
};
// 128 registers of output leave room for the scores of 32 keys at heads of 128. At 64 the scores of 64 keys would fit, but ptxas spills on
// sm_90, and it is the exponentials, not the products, that take the time there.
using Int8Shape64 = Int8Shape<64, 32>;
using Int8Shape128 = Int8Shape<128, 32>;

/// The caller's scratch memory, in bytes from its start; every part begins at a multiple of 16.
struct Int8Workspace {
  int64_t query_rows, key_rows;  ///< padded, of one head
  int64_t parts;                 ///< f32 [B,A,kInt8Parts,2,E]: sums of keys, then bits of the values' largest magnitudes
  int64_t q, q_scales;           ///< i8 [B,A,query_rows,E], f32 [B,A,query_rows]
  int64_t k, k_scales;           ///< i8 [B,A,key_rows,E], f32 [B,A,key_rows / 64]
  int64_t v, v_scales;           ///< e4m3 [B,A,E,key_rows], tokens in the order of key_at; f32 [B,A,E]
  int64_t bytes;
};
LTXV_HD constexpr Int8Workspace int8_workspace(int64_t pairs, int64_t head_dim, int64_t queries, int64_t keys) {
  Int8Workspace w{};
  w.query_rows = ceil_div(queries, kInt8QueryBlock) * kInt8QueryBlock;
  w.key_rows = ceil_div(keys, 2 * kInt8KeyTile) * 2 * kInt8KeyTile;  // whole rows of 128 bytes of a channel's tokens
  int64_t end = 0;
  const int64_t sizes[] = {pairs * kInt8Parts * 2 * head_dim * 4, pairs * w.query_rows * head_dim, pairs * w.query_rows * 4,
                           pairs * w.key_rows * head_dim,        pairs * w.key_rows / kInt8KeyTile * 4, pairs * w.key_rows * head_dim, pairs * head_dim * 4};
  int64_t* const starts[] = {&w.parts, &w.q, &w.q_scales, &w.k, &w.k_scales, &w.v, &w.v_scales};
  for (int32_t i = 0; i < 7; ++i) {
    *starts[i] = end;
    end += ceil_div(sizes[i], 16) * 16;
  }
  w.bytes = end;
  return w;
}

}  // namespace ltxv::ops::gpu
