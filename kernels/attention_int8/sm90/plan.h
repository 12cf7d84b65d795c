#pragma once
// Tile sizes, shared memory and barriers of the eight-bit attention on Hopper, heads of 128. Two codes take the place of one bf16: rows of
// 128 bytes are 64 pairs, so copies, swizzle and descriptors are those of attention/sm90, and a tile is one chunk.
#include "attention/sm90/tensor_map.h"
#include "attention_int8/layout.h"

namespace ltxv::ops::gpu::sm90 {

struct Int8Choice {
  static constexpr int kConsumers = 2, kKeyRows = 128, kStages = 4;
  static constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
};

struct Int8Plan : Plan<kChunkColumns, Int8Choice> {
  using Base = Plan<kChunkColumns, Int8Choice>;
  static constexpr int kHeadDim = 128;
  static constexpr int kStepBytes = 32;                    ///< the K of one eight-bit wgmma
  static constexpr int kSteps = kRowBytes / kStepBytes;    ///< of either product
  static constexpr int kScores = kKeyRows / 2, kWeights = kKeyRows / 8, kOutputs = kHeadDim / 2;
  // bf16 rows of the output, two chunks, of 1024 bytes' alignment as the copy engine wants them.
  static constexpr int kOutOffset = (Base::kSharedBytes + kAtomBytes - 1) / kAtomBytes * kAtomBytes;
  static constexpr int kSharedBytes = kOutOffset + kQueryRows * kHeadDim * kElementBytes;
  static constexpr int kLaunchBytes = kSharedBytes + kAtomBytes;
  static_assert(kLaunchBytes <= 227 * 1024);
  static_assert(kKeyRows == 2 * kInt8KeyTile && kKeyRows == kRowBytes, "two scales a tile; a channel's tokens of a tile are one row");
  static_assert(kStageBytes == kHeadDim * kRowBytes, "a tile of values, a row a channel, is as large as one of keys");
};

/// The codes of a workspace as tensors of pairs of bytes; a "batch" is a head of a batch.
struct Int8Layouts {
  TensorLayout query, key;  ///< [pairs, padded rows, 64]
  TensorLayout value;       ///< [pairs, 128 channels, padded tokens / 2]
};
constexpr Int8Layouts int8_layouts(const Int8Workspace& at, const char* base, int64_t pairs) {
  constexpr int64_t kPairs = kRowBytes / 2;
  return {{base + at.q, pairs, at.query_rows, kPairs, at.query_rows * kPairs, kPairs},
          {base + at.k, pairs, at.key_rows, kPairs, at.key_rows * kPairs, kPairs},
          {base + at.v, pairs, Int8Plan::kHeadDim, at.key_rows / 2, Int8Plan::kHeadDim * (at.key_rows / 2), at.key_rows / 2}};
}

}  // namespace ltxv::ops::gpu::sm90
