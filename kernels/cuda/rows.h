#pragma once
// What the row kernels share: eight values at a time, and sums over a block.
#include "cuda/numbers.h"
#include "launchers.h"

namespace ltxv::ops::gpu {

/// How eight neighbouring values of a row are read and written: 16 bytes of bf16, 32 of f32.
template <Element kType>
struct Eight;

template <>
struct Eight<Element::bf16> {
  template <class Context>
  LTXV_HD static void load(Context& context, const void* base, int64_t index, float (&v)[8]) {
    const Words4 words = context.load(reinterpret_cast<const Words4*>(static_cast<const uint16_t*>(base) + index));
    const uint32_t all[4] = {words.x, words.y, words.z, words.w};
    LTXV_UNROLL
    for (int32_t i = 0; i < 4; ++i) v[2 * i] = bf16_low(all[i]), v[2 * i + 1] = bf16_high(all[i]);
  }
  template <class Context>
  LTXV_HD static void store(Context& context, void* base, int64_t index, const float (&v)[8]) {
    const Words4 words = {context.pack_bf16(v[0], v[1]), context.pack_bf16(v[2], v[3]), context.pack_bf16(v[4], v[5]),
                          context.pack_bf16(v[6], v[7])};
    context.store(reinterpret_cast<Words4*>(static_cast<uint16_t*>(base) + index), words);
  }
  /// What a store and a load would leave of the values.
  template <class Context>
  LTXV_HD static void round(Context& context, float (&v)[8]) {
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; i += 2) {
      const uint32_t word = context.pack_bf16(v[i], v[i + 1]);
      v[i] = bf16_low(word), v[i + 1] = bf16_high(word);
    }
  }
};

template <>
struct Eight<Element::f32> {
  template <class Context>
  LTXV_HD static void load(Context& context, const void* base, int64_t index, float (&v)[8]) {
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; i += 4) {
      const Floats4 f = context.load(reinterpret_cast<const Floats4*>(static_cast<const float*>(base) + index + i));
      v[i] = f.x, v[i + 1] = f.y, v[i + 2] = f.z, v[i + 3] = f.w;
    }
  }
  template <class Context>
  LTXV_HD static void store(Context& context, void* base, int64_t index, const float (&v)[8]) {
    LTXV_UNROLL
    for (int32_t i = 0; i < 8; i += 4)
      context.store(reinterpret_cast<Floats4*>(static_cast<float*>(base) + index + i), Floats4{v[i], v[i + 1], v[i + 2], v[i + 3]});
  }
  template <class Context>
  LTXV_HD static void round(Context&, float (&)[8]) {}
};

struct Sum {
  LTXV_HD static float of(float a, float b) { return a + b; }
};
struct Largest {
  LTXV_HD static float of(float a, float b) { return a > b ? a : b; }
};

/// Every thread of a warp gets the warp's total, in the same order whatever the schedule.
template <class Operation, class Context>
LTXV_HD float warp_total(Context& context, float v) {
  LTXV_UNROLL
  for (int32_t mask = 16; mask > 0; mask /= 2) v = Operation::of(v, context.shuffle_xor(v, mask));
  return v;
}

/// Every thread of the block gets the total. Uses 4 bytes of shared memory a warp from `offset` on, which nobody else may touch
/// between this call and the block's next sync.
template <class Operation, int32_t kThreads, class Context>
LTXV_HD float block_total(Context& context, float v, uint32_t offset) {
  constexpr int32_t kWarps = kThreads / kWarpSize;
  v = warp_total<Operation>(context, v);
  if constexpr (kWarps > 1) {
    if (context.thread() % kWarpSize == 0) context.store_shared(offset + context.thread() / kWarpSize * 4, v);
    context.sync();
    v = context.template load_shared<float>(offset);
    LTXV_UNROLL
    for (int32_t warp = 1; warp < kWarps; ++warp) v = Operation::of(v, context.template load_shared<float>(offset + warp * 4));
  }
  return v;
}

/// Threads of a block and eights of a thread that cover a row.
struct RowPlan {
  int32_t threads, eights;
};
inline constexpr int32_t kMaxRowWidth = 8192;
/// Two totals, eight warps each.
inline constexpr uint32_t kRowSharedBytes = 64;
constexpr RowPlan row_plan(int32_t width) {
  const int32_t total = width / 8;
  return {total <= 64 ? 64 : 256, total <= 256 ? 1 : total <= 512 ? 2 : 4};
}

/// Calls run.template operator()<kThreads, kEights>() for the plan of this width.
template <class Run>
int with_row_plan(int32_t width, Run&& run) {
  const RowPlan plan = row_plan(width);
  if (plan.eights == 4) return run.template operator()<256, 4>();
  if (plan.eights == 2) return run.template operator()<256, 2>();
  if (plan.threads == 256) return run.template operator()<256, 1>();
  return run.template operator()<64, 1>();
}

}  // namespace ltxv::ops::gpu
