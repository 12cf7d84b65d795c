#pragma once
// Tile sizes, shared memory and barriers of the kernel for one head width.
#include "attention/sm90/layout.h"

namespace ltxv::ops::gpu::sm90 {

/// A head width's fixed choices. Registers: what setmaxnreg leaves the producer and gives each consumer; together they
/// are what the launch allotted (65536 / threads, a multiple of 8, times threads).
template <int kHeadDim>
struct Choice;
template <>
struct Choice<64> {
  static constexpr int kConsumers = 3, kKeyRows = 128, kStages = 3;
  static constexpr int kProducerRegisters = 32, kConsumerRegisters = 160;
};
// 176 keys: two stages of keys and values and the queries fill 213 of 227 KB.
template <>
struct Choice<128> {
  static constexpr int kConsumers = 2, kKeyRows = 176, kStages = 2;
  static constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
};

/// Chosen: a Choice; tests put in one with small tiles.
template <int kWidth, class Chosen = Choice<kWidth>>
struct Plan : Chosen {
  using Chosen::kConsumers, Chosen::kKeyRows, Chosen::kStages;
  static constexpr int kHeadDim = kWidth;
  static constexpr int kChunks = kHeadDim / kChunkColumns;
  static constexpr int kQueryRows = kConsumers * kGroupRows;
  static constexpr int kThreads = (1 + kConsumers) * kGroupThreads;
  static constexpr int kConsumerWarps = kConsumers * kGroupWarps;

  // Registers of a consumer thread: a tile of scores, the same as bf16 weights, and its part of the output.
  static constexpr int kScores = kKeyRows / 2, kWeights = kKeyRows / 4, kOutputs = kHeadDim / 2;

  // Shared memory, in bytes from a base that is a multiple of 1024.
  static constexpr int kQueryBytes = kQueryRows * kHeadDim * kElementBytes;
  static constexpr int kStageBytes = kKeyRows * kHeadDim * kElementBytes;
  static constexpr int kQueryOffset = 0;
  static constexpr int kKeyOffset = kQueryOffset + kQueryBytes;
  static constexpr int kValueOffset = kKeyOffset + kStages * kStageBytes;
  static constexpr int kBarrierOffset = kValueOffset + kStages * kStageBytes;
  static constexpr int kBarriers = 1 + 4 * kStages;
  static constexpr int kSharedBytes = kBarrierOffset + kBarriers * 8;
  static constexpr int kLaunchBytes = kSharedBytes + kAtomBytes;  // room to round the base up

  LTXV_HD static constexpr int query_full() { return 0; }
  LTXV_HD static constexpr int key_full(int stage) { return 1 + stage; }
  LTXV_HD static constexpr int key_empty(int stage) { return 1 + kStages + stage; }
  LTXV_HD static constexpr int value_full(int stage) { return 1 + 2 * kStages + stage; }
  LTXV_HD static constexpr int value_empty(int stage) { return 1 + 3 * kStages + stage; }

  LTXV_HD static constexpr int key_offset(int stage) { return kKeyOffset + stage * kStageBytes; }
  LTXV_HD static constexpr int value_offset(int stage) { return kValueOffset + stage * kStageBytes; }

  // Hardware barriers; 0 is the one of the whole block.
  LTXV_HD static constexpr int group_barrier(int consumer) { return 1 + consumer; }
  static constexpr int kConsumersBarrier = 1 + kConsumers;
  LTXV_HD static constexpr int turn_barrier(int consumer) { return 2 + kConsumers + consumer; }
  static_assert(2 + 2 * kConsumers <= 16);

  static_assert(kHeadDim % kChunkColumns == 0 && kKeyRows % kStepDepth == 0 && kKeyRows <= 256 && kQueryRows <= 256);
  static_assert(kQueryBytes % kAtomBytes == 0 && kStageBytes % kAtomBytes == 0 && kKeyRows % 8 == 0);
  static_assert(kLaunchBytes <= 227 * 1024);
  static_assert(kThreads * (65536 / kThreads / 8 * 8) ==
                kGroupThreads * (Chosen::kProducerRegisters + kConsumers * Chosen::kConsumerRegisters));
};

/// Tiles of `step` that cover `count`.
LTXV_HD constexpr int tiles_for(int count, int step) { return (count + step - 1) / step; }

/// Keys of tile `tile` that exist: kKeyRows except in the last tile.
LTXV_HD constexpr int valid_keys(int key_length, int tile, int key_rows) {
  const int left = key_length - tile * key_rows;
  return left < key_rows ? left : key_rows;
}

/// Where a ring of buffers stands: the stage, and the parity of the round its barriers are in.
template <int kStages>
struct Ring {
  int stage = 0;
  uint32_t phase = 0;
  LTXV_HD constexpr void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

}  // namespace ltxv::ops::gpu::sm90
