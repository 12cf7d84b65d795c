#pragma once
// A block takes some input positions, one behind the other. Their channels are read in order into shared memory and picked out of it
// transposed, so that both reads and writes of global memory are whole 16-byte pieces.
#include "cuda/rows.h"

namespace ltxv::ops::gpu {

inline constexpr int32_t kDepthToSpaceThreads = 128, kDepthToSpaceMaxElements = 8192;

/// Byte offset of an element in shared memory. Lanes take P neighbours of every eighth channel; 16 free bytes behind each 128 keep
/// these strides of 16 P bytes off the same banks.
template <int32_t kElementBytes>
LTXV_HD constexpr uint32_t staged_offset(int32_t element) {
  const int32_t bytes = element * kElementBytes;
  return static_cast<uint32_t>(bytes + bytes / 128 * 16);
}
constexpr int32_t positions_per_block(int32_t channels, int32_t residual_channels, int32_t subpositions) {
  const int32_t fitting = kDepthToSpaceMaxElements / ((channels > residual_channels ? channels : residual_channels) * subpositions);
  return fitting < 1 ? 1 : fitting > 8 ? 8 : fitting;
}

template <Element kType, int32_t kSubpositions, class Context>
struct DepthToSpace {
  static constexpr int32_t kBytes = kType == Element::bf16 ? 2 : 4;
  Context& context;
  const DepthToSpaceLaunch& launch;
  int32_t per_block;

  // 16 bytes a thread and step.
  LTXV_HD void stage(const void* from, int64_t first, int32_t elements, uint32_t to) {
    constexpr int32_t kPiece = 16 / kBytes;
    const char* source = static_cast<const char*>(from) + first * kBytes;
    for (int32_t at = context.thread() * kPiece; at < elements; at += kDepthToSpaceThreads * kPiece)
      context.store_shared(to + staged_offset<kBytes>(at), context.load(reinterpret_cast<const Words4*>(source + static_cast<int64_t>(at) * kBytes)));
  }

  LTXV_HD float staged(uint32_t region, int32_t element) {
    const uint32_t offset = region + staged_offset<kBytes>(element);
    if constexpr (kType == Element::bf16)
      return bf16_low(context.template load_shared<uint16_t>(offset));
    else
      return context.template load_shared<float>(offset);
  }

  LTXV_HD void run() {
    const int64_t total = static_cast<int64_t>(launch.batch) * launch.frames * launch.height * launch.width;
    const int64_t first = static_cast<int64_t>(context.block_x()) * per_block;
    const int32_t here = static_cast<int32_t>(total - first < per_block ? total - first : per_block);
    const int32_t elements = launch.channels * kSubpositions, residual_elements = launch.residual_channels * kSubpositions;
    const uint32_t residual_region = (staged_offset<kBytes>(per_block * elements) + 15) / 16 * 16;
    stage(launch.y, first * elements, here * elements, 0);
    if (launch.residual) stage(launch.residual, first * residual_elements, here * residual_elements, residual_region);
    context.sync();
    // One piece: eight channels of one output position. Subposition fastest, so that lanes read neighbours.
    const int32_t groups = launch.channels / 8, pieces = here * groups * kSubpositions;
    for (int32_t piece = context.thread(); piece < pieces; piece += kDepthToSpaceThreads) {
      const int32_t p = piece % kSubpositions, group = piece / kSubpositions % groups, local = piece / kSubpositions / groups;
      const int64_t to = output_position(first + local, p);
      if (to < 0) continue;
      float v[8];
      LTXV_UNROLL
      for (int32_t i = 0; i < 8; ++i) {
        const int32_t c = group * 8 + i;
        v[i] = staged(0, local * elements + c * kSubpositions + p);
        if (launch.residual)
          v[i] += staged(residual_region, local * residual_elements + c % launch.residual_channels * kSubpositions + p);
      }
      Eight<kType>::store(context, launch.out, to * launch.channels + group * 8, v);
    }
  }

  /// Number of the output position over [B,T,H,W], or -1 for a dropped frame.
  LTXV_HD int64_t output_position(int64_t position, int32_t p) {
    const int32_t dt = p / (launch.sh * launch.sw), dh = p / launch.sw % launch.sh, dw = p % launch.sw;
    const int32_t w = static_cast<int32_t>(position % launch.width), h = static_cast<int32_t>(position / launch.width % launch.height);
    const int64_t plane = position / launch.width / launch.height;
    const int32_t t = static_cast<int32_t>(plane % launch.frames), b = static_cast<int32_t>(plane / launch.frames);
    const int32_t frame = t * launch.st + dt - launch.dropped;
    if (frame < 0) return -1;
    const int64_t frames = static_cast<int64_t>(launch.frames) * launch.st - launch.dropped;
    return ((b * frames + frame) * launch.height * launch.sh + h * launch.sh + dh) * launch.width * launch.sw + w * launch.sw + dw;
  }
};

/// Bytes of shared memory for one block.
constexpr uint32_t depth_to_space_shared(const DepthToSpaceLaunch& launch, int32_t subpositions, int32_t per_block) {
  const auto region = [&](int32_t elements) {
    const uint32_t end = launch.type == Element::bf16 ? staged_offset<2>(elements) : staged_offset<4>(elements);
    return (end + 15) / 16 * 16;
  };
  return region(per_block * launch.channels * subpositions) +
         (launch.residual ? region(per_block * launch.residual_channels * subpositions) : 0);
}

}  // namespace ltxv::ops::gpu
