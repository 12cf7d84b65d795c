#pragma once
// Flash attention forward with mma.sync, for sm_80 and newer. One block takes kBlockM queries of one head; each of its four warps
// owns 32 of them from scores to output, so warps meet only over the K and V tiles.
//
// Schedule of tile j, with one buffer each for K and V:
//   wait K_j, sync | copy V_j | scores = q K_j^T | wait V_j, sync | copy K_{j+1} | softmax | out += p V_j
// The first sync says that V_{j-1} is read, the second that K_j is, so each copy overlaps a product and neither needs a second buffer.
// Source: Dao, "FlashAttention-2", 2023, algorithm 1.
#include "attention/mma_layout.h"
#include "cuda/numbers.h"
#include "launchers.h"

namespace ltxv::ops::gpu {

template <class Shape, class Context>
struct AttentionMma {
  using T = Tile<Shape::kHeadDim>;
  static constexpr int32_t kRows = Shape::kRowTiles * 2;  ///< of the output, a lane
  static constexpr float kLog2E = 1.44269504088896341f;

  Context& context;
  const AttentionLaunch& launch;
  int32_t lane, warp, query_block, head, batch, key_count;
  uint32_t lane_offset;  ///< of the row and chunk that this lane names, in any tile

  float out[Shape::kRowTiles][Shape::kValueTiles][4];
  float row_max[kRows], row_sum[kRows];
  uint32_t queries[Shape::kQueriesInRegisters ? Shape::kScoreSteps : 1][Shape::kRowTiles][4];

  template <int32_t kTiles, int32_t kColumns>
  LTXV_HD static void clear(float (&sums)[kTiles][kColumns][4]) {
    LTXV_UNROLL
    for (int32_t m = 0; m < kTiles; ++m)
      LTXV_UNROLL
      for (int32_t n = 0; n < kColumns; ++n)
        LTXV_UNROLL
        for (int32_t i = 0; i < 4; ++i) sums[m][n][i] = 0;
  }

  // Rows first .. first + kRows of one head into shared memory, zeros beyond `limit`.
  template <int32_t kTileRows>
  LTXV_HD void copy_tile(uint32_t to, const void* from, int64_t batch_stride, int64_t row_stride, int32_t first, int32_t limit) {
    using Plan = CopyPlan<Shape::kHeadDim, Shape::kThreads>;
    static_assert(kTileRows % Plan::kRowStep == 0);
    const Plan plan = Plan::of(context.thread());
    const uint32_t offset = to + T::offset(plan.row, plan.chunk);
    const uint16_t* source = static_cast<const uint16_t*>(from) + batch * batch_stride + (first + plan.row) * row_stride +
                             head * Shape::kHeadDim + plan.chunk * 8;
    LTXV_UNROLL
    for (int32_t i = 0; i < kTileRows / Plan::kRowStep; ++i) {
      // A copy that is not valid reads nothing, wherever its address points.
      context.copy_async(offset + i * Plan::kRowStep * T::kRowBytes, source, first + plan.row + i * Plan::kRowStep < limit);
      source += Plan::kRowStep * row_stride;
    }
  }
  LTXV_HD void copy_keys(int32_t tile) {
    copy_tile<Shape::kBlockN>(Shape::kKeyOffset, launch.k, launch.k_batch_stride, launch.k_row_stride, tile * Shape::kBlockN, key_count);
  }
  LTXV_HD void copy_values(int32_t tile) {
    copy_tile<Shape::kBlockN>(Shape::kValueOffset, launch.v, launch.v_batch_stride, launch.v_row_stride, tile * Shape::kBlockN, key_count);
  }

  LTXV_HD void load_queries(uint32_t (&a)[Shape::kRowTiles][4], int32_t step) {
    const uint32_t offset = T::advance(lane_offset + warp * Shape::kWarpRows * T::kRowBytes, step);
    LTXV_UNROLL
    for (int32_t m = 0; m < Shape::kRowTiles; ++m) context.load_matrices(a[m], Shape::kQueryOffset + offset + m * 16 * T::kRowBytes);
  }

  LTXV_HD void multiply_scores(float (&scores)[Shape::kRowTiles][Shape::kKeyTiles][4]) {
    LTXV_UNROLL_BY(Shape::kScoreUnroll)
    for (int32_t step = 0; step < Shape::kScoreSteps; ++step) {
      uint32_t fresh[Shape::kRowTiles][4];
      if constexpr (!Shape::kQueriesInRegisters) load_queries(fresh, step);
      LTXV_UNROLL
      for (int32_t n = 0; n < Shape::kKeyTiles; n += 2) {
        uint32_t b[4];
        context.load_matrices(b, Shape::kKeyOffset + T::advance(lane_offset, step) + n * 8 * T::kRowBytes);
        LTXV_UNROLL
        for (int32_t m = 0; m < Shape::kRowTiles; ++m) {
          const uint32_t(&a)[4] = Shape::kQueriesInRegisters ? queries[Shape::kQueriesInRegisters ? step : 0][m] : fresh[m];
          context.multiply(scores[m][n], a, b[0], b[2]);
          context.multiply(scores[m][n + 1], a, b[1], b[3]);
        }
      }
    }
  }

  // Columns at and beyond key_count hold the product with zeros: they must not win nor count.
  LTXV_HD void mask_tail(float (&scores)[Shape::kRowTiles][Shape::kKeyTiles][4], int32_t tile) {
    const int32_t first = tile * Shape::kBlockN + fragment_column(lane);
    LTXV_UNROLL
    for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
      LTXV_UNROLL
      for (int32_t i = 0; i < 4; ++i)
        if (first + n * 8 + (i & 1) >= key_count) {
          LTXV_UNROLL
          for (int32_t m = 0; m < Shape::kRowTiles; ++m) scores[m][n][i] = -__builtin_huge_valf();
        }
  }

  // Scores become exponentials; sums and output are brought to the new maximum. exp(scale (s - max)) = 2^(s c - max c) in one FFMA.
  LTXV_HD void soften(float (&scores)[Shape::kRowTiles][Shape::kKeyTiles][4]) {
    const float c = launch.scale * kLog2E;
    LTXV_UNROLL
    for (int32_t m = 0; m < Shape::kRowTiles; ++m)
      LTXV_UNROLL
      for (int32_t half = 0; half < 2; ++half) {
        const int32_t row = m * 2 + half;
        float largest = row_max[row];
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
          LTXV_UNROLL
          for (int32_t i = 0; i < 2; ++i)
            largest = context.maximum(largest, scores[m][n][half * 2 + i]);
        LTXV_UNROLL
        for (int32_t mask = 1; mask <= 2; mask *= 2)  // the four lanes of a row
          largest = context.maximum(largest, context.shuffle_xor(largest, mask));
        const float correction = context.exp2((row_max[row] - largest) * c);  // first tile: 2^-inf = 0
        row_max[row] = largest;
        const float offset = largest * c;
        float sum = 0;
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
          LTXV_UNROLL
          for (int32_t i = 0; i < 2; ++i) {
            float& s = scores[m][n][half * 2 + i];
            s = context.exp2(s * c - offset);
            sum += s;
          }
        row_sum[row] = row_sum[row] * correction + sum;  // of this lane's columns; lanes are added at the end
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kValueTiles; ++n) {
          out[m][n][half * 2] *= correction;
          out[m][n][half * 2 + 1] *= correction;
        }
      }
  }

  // The accumulator of two 16 x 8 score tiles is, rounded, the A operand of one k step: nothing moves between lanes.
  LTXV_HD void multiply_values(const float (&p)[Shape::kRowTiles][Shape::kKeyTiles][4]) {
    LTXV_UNROLL
    for (int32_t step = 0; step < Shape::kValueSteps; ++step) {
      uint32_t a[Shape::kRowTiles][4];
      LTXV_UNROLL
      for (int32_t m = 0; m < Shape::kRowTiles; ++m)
        LTXV_UNROLL
        for (int32_t r = 0; r < 4; ++r) {
          const float(&tile)[4] = p[m][step * 2 + (r >> 1)];
          a[m][r] = context.pack_bf16(tile[(r & 1) * 2], tile[(r & 1) * 2 + 1]);
        }
      LTXV_UNROLL
      for (int32_t n = 0; n < Shape::kValueTiles; n += 2) {
        uint32_t b[4];
        context.load_matrices_transposed(b, Shape::kValueOffset + T::advance(lane_offset, n / 2) + step * 16 * T::kRowBytes);
        LTXV_UNROLL
        for (int32_t m = 0; m < Shape::kRowTiles; ++m) {
          context.multiply(out[m][n], a[m], b[0], b[1]);
          context.multiply(out[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // Through this warp's own rows of the query tile, so that global stores are whole 16-byte chunks.
  LTXV_HD void store_output() {
    context.sync_warp();
    LTXV_UNROLL
    for (int32_t m = 0; m < Shape::kRowTiles; ++m)
      LTXV_UNROLL
      for (int32_t half = 0; half < 2; ++half) {
        float sum = row_sum[m * 2 + half];
        sum += context.shuffle_xor(sum, 1);
        sum += context.shuffle_xor(sum, 2);
        const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;  // no keys at all: zeros. NaN stays.
        const int32_t row = warp * Shape::kWarpRows + m * 16 + half * 8 + fragment_row(lane);
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kValueTiles; ++n)
          context.template store_shared<uint32_t>(
              Shape::kQueryOffset + T::offset(row, n) + fragment_column(lane) * 2,
              context.pack_bf16(out[m][n][half * 2] * inverse, out[m][n][half * 2 + 1] * inverse));
      }
    context.sync_warp();
    uint16_t* base = static_cast<uint16_t*>(launch.out) + batch * launch.out_batch_stride + head * Shape::kHeadDim;
    LTXV_UNROLL
    for (int32_t i = 0; i < Shape::kWarpRows * T::kChunks / kWarpSize; ++i) {
      const int32_t index = i * kWarpSize + lane, row = warp * Shape::kWarpRows + index / T::kChunks, chunk = index % T::kChunks;
      const int32_t query = query_block * Shape::kBlockM + row;
      const Words4 words = context.template load_shared<Words4>(Shape::kQueryOffset + T::offset(row, chunk));
      if (query < launch.q_length)
        context.store(reinterpret_cast<Words4*>(base + query * launch.out_row_stride + chunk * 8), words);
    }
  }

  LTXV_HD void run() {
    lane = context.thread() % kWarpSize, warp = context.thread() / kWarpSize;
    const MatrixAddress at = matrix_address(lane);
    lane_offset = T::offset(at.row, at.chunk);
    query_block = context.block_x(), head = context.block_y(), batch = context.block_z();
    key_count = launch.k_length;
    if (launch.k_lengths) {
      const int32_t in_use = context.load(launch.k_lengths + batch);
      key_count = in_use < 0 ? 0 : in_use < key_count ? in_use : key_count;
    }
    clear(out);
    LTXV_UNROLL
    for (int32_t row = 0; row < kRows; ++row) row_max[row] = -__builtin_huge_valf(), row_sum[row] = 0;

    const int32_t tiles = (key_count + Shape::kBlockN - 1) / Shape::kBlockN;
    copy_tile<Shape::kBlockM>(Shape::kQueryOffset, launch.q, launch.q_batch_stride, launch.q_row_stride,
                              query_block * Shape::kBlockM, launch.q_length);
    if (tiles > 0) copy_keys(0);
    context.commit();
    if constexpr (Shape::kQueriesInRegisters) {
      context.template wait<0>();
      context.sync();
      LTXV_UNROLL
      for (int32_t step = 0; step < Shape::kScoreSteps; ++step) load_queries(queries[step], step);
    }
    for (int32_t tile = 0; tile < tiles; ++tile) {
      context.template wait<0>();
      context.sync();
      copy_values(tile);
      context.commit();
      float scores[Shape::kRowTiles][Shape::kKeyTiles][4];
      clear(scores);
      multiply_scores(scores);
      if ((tile + 1) * Shape::kBlockN > key_count) mask_tail(scores, tile);
      context.template wait<0>();
      context.sync();
      if (tile + 1 < tiles) copy_keys(tile + 1);
      context.commit();
      soften(scores);
      multiply_values(scores);
    }
    if (tiles == 0) {  // nobody has waited for the query copy into the rows that the output goes through
      context.template wait<0>();
      context.sync();
    }
    store_output();
  }
};

}  // namespace ltxv::ops::gpu
