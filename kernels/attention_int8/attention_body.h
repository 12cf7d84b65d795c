#pragma once
// Flash attention forward on eight-bit codes with mma.sync, for sm_89 and newer: attention/attention_mma.h with int8 scores, e4m3
// exponentials and values, and twice the products an instruction. One block takes kBlockM queries of one head, each warp 32 of them.
//
// Schedule of tile j, with one buffer each for K and V:
//   wait K_j, sync | copy V_j | scores = q K_j^T | wait V_j, sync | copy K_{j+1} | softmax | out = out correction + p V_j
// The first sync says that V_{j-1} is read, the second that K_j is.
#include "attention_int8/layout.h"
#include "cuda/numbers.h"
#include "launchers.h"

namespace ltxv::ops::gpu {

template <class Shape, class Context>
struct AttentionInt8 {
  using Queries = typename Shape::QueryTile;
  using Values = typename Shape::ValueTile;
  using Out = typename Shape::OutTile;
  static constexpr int32_t kRows = Shape::kRowTiles * 2;  ///< of the output, a lane

  Context& context;
  const AttentionInt8Launch& launch;
  const Int8Workspace& at;
  int64_t pair;
  int32_t lane, warp, query_block, key_count;
  uint32_t query_address, value_address;  ///< of the row and chunk that this lane names, in any tile of its kind

  float out[Shape::kRowTiles][Shape::kValueTiles][4];
  float row_max[kRows], row_sum[kRows], row_scale[kRows], correction[kRows];

  template <class T>
  LTXV_HD const T* part(int64_t offset) const {
    return reinterpret_cast<const T*>(static_cast<const char*>(launch.workspace) + offset);
  }

  template <class TileOf, int32_t kTileRows>
  LTXV_HD void copy_tile(uint32_t to, const char* from, int64_t row_bytes) {
    using Plan = ByteCopyPlan<TileOf::kRowBytes, Shape::kThreads>;
    static_assert(kTileRows % Plan::kRowStep == 0);
    const Plan plan = Plan::of(context.thread());
    const uint32_t offset = to + TileOf::offset(plan.row, plan.chunk);
    const char* source = from + plan.row * row_bytes + plan.chunk * 16;
    LTXV_UNROLL
    for (int32_t i = 0; i < kTileRows / Plan::kRowStep; ++i) {
      context.copy_async(offset + i * Plan::kRowStep * TileOf::kRowBytes, source, true);  // what is beyond the end was stored as zeros
      source += Plan::kRowStep * row_bytes;
    }
  }
  LTXV_HD void copy_keys(int32_t tile) {
    copy_tile<Queries, Shape::kBlockN>(Shape::kKeyOffset, part<char>(at.k) + (pair * at.key_rows + tile * Shape::kBlockN) * Shape::kHeadDim,
                                       Shape::kHeadDim);
  }
  LTXV_HD void copy_values(int32_t tile) {
    copy_tile<Values, Shape::kHeadDim>(Shape::kValueOffset, part<char>(at.v) + pair * Shape::kHeadDim * at.key_rows + tile * Shape::kBlockN, at.key_rows);
  }

  LTXV_HD void load_queries(uint32_t (&a)[Shape::kRowTiles][4], int32_t step) {
    LTXV_UNROLL
    for (int32_t m = 0; m < Shape::kRowTiles; ++m)
      context.load_matrices(a[m], Shape::kQueryOffset + Queries::advance(query_address, step) + (warp * Shape::kWarpRows + m * 16) * Queries::kRowBytes);
  }

  LTXV_HD void multiply_scores(uint32_t (&scores)[Shape::kRowTiles][Shape::kKeyTiles][4]) {
    LTXV_UNROLL_BY(1)  // unrolled, so many loads move to the front that registers spill
    for (int32_t step = 0; step < Shape::kScoreSteps; ++step) {
      uint32_t fresh[Shape::kRowTiles][4];
      load_queries(fresh, step);
      LTXV_UNROLL
      for (int32_t n = 0; n < Shape::kKeyTiles; n += 2) {
        uint32_t b[4];
        context.load_matrices(b, Shape::kKeyOffset + Queries::advance(query_address, step) + n * 8 * Queries::kRowBytes);
        LTXV_UNROLL
        for (int32_t m = 0; m < Shape::kRowTiles; ++m) {
          context.multiply_int8(scores[m][n], fresh[m], b[0], b[2]);
          context.multiply_int8(scores[m][n + 1], fresh[m], b[1], b[3]);
        }
      }
    }
  }

  // Columns at and beyond key_count must not win nor count.
  LTXV_HD void mask_tail(uint32_t (&scores)[Shape::kRowTiles][Shape::kKeyTiles][4], int32_t tile) {
    constexpr uint32_t kMinusInfinity = 0xff800000u;
    const int32_t first = tile * Shape::kBlockN + fragment_column(lane);
    LTXV_UNROLL
    for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
      LTXV_UNROLL
      for (int32_t i = 0; i < 4; ++i)
        if (first + n * 8 + (i & 1) >= key_count) {
          LTXV_UNROLL
          for (int32_t m = 0; m < Shape::kRowTiles; ++m) scores[m][n][i] = kMinusInfinity;
        }
  }

  // Weights of a tile, as the operand of the second product; what came before is brought to the new maximum with it.
  LTXV_HD void soften(const uint32_t (&scores)[Shape::kRowTiles][Shape::kKeyTiles][4], int32_t tile, uint32_t (&p)[Shape::kValueSteps][Shape::kRowTiles][4]) {
    const float key_scale = context.load(part<float>(at.k_scales) + pair * (at.key_rows / kInt8KeyTile) + tile * Shape::kBlockN / kInt8KeyTile);
    LTXV_UNROLL
    for (int32_t m = 0; m < Shape::kRowTiles; ++m)
      LTXV_UNROLL
      for (int32_t half = 0; half < 2; ++half) {
        const int32_t row = m * 2 + half;
        const float c = row_scale[row] * key_scale;
        float s[Shape::kKeyTiles][2];
        float largest = -__builtin_huge_valf();
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
          LTXV_UNROLL
          for (int32_t i = 0; i < 2; ++i) {
            s[n][i] = float_from_bits(scores[m][n][half * 2 + i]) - kInt8Bias;
            largest = context.maximum(largest, s[n][i]);
          }
        LTXV_UNROLL
        for (int32_t mask = 1; mask <= 2; mask *= 2)  // the four lanes of a row
          largest = context.maximum(largest, context.shuffle_xor(largest, mask));
        const float new_max = context.maximum(row_max[row], largest * c);  // c is above zero
        correction[row] = context.exp2(row_max[row] - new_max);           // first tile: 2^-inf = 0
        row_max[row] = new_max;
        const float offset = new_max - kInt8WeightExponent;
        float sum = 0;
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
          LTXV_UNROLL
          for (int32_t i = 0; i < 2; ++i) {
            s[n][i] = context.exp2(s[n][i] * c - offset);
            sum += s[n][i];
          }
        row_sum[row] = row_sum[row] * correction[row] + sum;  // of this lane's columns; lanes are added at the end
        LTXV_UNROLL
        for (int32_t step = 0; step < Shape::kValueSteps; ++step)
          LTXV_UNROLL
          for (int32_t chunk = 0; chunk < 2; ++chunk) {
            const int32_t n = step * 4 + chunk * 2;
            p[step][m][half + chunk * 2] = context.pack_e4m3(s[n][0], s[n][1], s[n + 1][0], s[n + 1][1]);
          }
      }
  }

  // A tile's products are summed on their own and then added in f32: the hardware's sums of fp8 products keep fewer bits.
  LTXV_HD void multiply_values(const uint32_t (&p)[Shape::kValueSteps][Shape::kRowTiles][4]) {
    LTXV_UNROLL
    for (int32_t n = 0; n < Shape::kValueTiles; n += 2) {
      float sums[Shape::kRowTiles][2][4] = {};
      LTXV_UNROLL
      for (int32_t step = 0; step < Shape::kValueSteps; ++step) {
        uint32_t b[4];
        context.load_matrices(b, Shape::kValueOffset + Values::advance(value_address, step) + n * 8 * Values::kRowBytes);
        LTXV_UNROLL
        for (int32_t m = 0; m < Shape::kRowTiles; ++m) {
          context.multiply_e4m3(sums[m][0], p[step][m], b[0], b[2]);
          context.multiply_e4m3(sums[m][1], p[step][m], b[1], b[3]);
        }
      }
      LTXV_UNROLL
      for (int32_t m = 0; m < Shape::kRowTiles; ++m)
        LTXV_UNROLL
        for (int32_t i = 0; i < 2; ++i)
          LTXV_UNROLL
          for (int32_t e = 0; e < 4; ++e) out[m][n + i][e] = out[m][n + i][e] * correction[m * 2 + e / 2] + sums[m][i][e];
    }
  }

  // Through shared memory, each warp its own rows, so that global stores are whole 16-byte chunks.
  LTXV_HD void store_output() {
    const AttentionLaunch& a = launch.attention;
    context.sync();  // all tiles are read
    const float* value_scales = part<float>(at.v_scales) + pair * Shape::kHeadDim + fragment_column(lane);
    float inverse[kRows];
    LTXV_UNROLL
    for (int32_t row = 0; row < kRows; ++row) {
      float sum = row_sum[row];
      sum += context.shuffle_xor(sum, 1);
      sum += context.shuffle_xor(sum, 2);
      inverse[row] = 1.0f / sum;  // the largest weight alone is 2^8
    }
    LTXV_UNROLL
    for (int32_t n = 0; n < Shape::kValueTiles; ++n) {
      const float low = context.load(value_scales + n * 8), high = context.load(value_scales + n * 8 + 1);
      LTXV_UNROLL
      for (int32_t row = 0; row < kRows; ++row) {
        const float(&o)[4] = out[row / 2][n];
        const int32_t of_block = warp * Shape::kWarpRows + row / 2 * 16 + row % 2 * 8 + fragment_row(lane);
        context.template store_shared<uint32_t>(Out::offset(of_block, n) + fragment_column(lane) * 2,
                                                context.pack_bf16(o[row % 2 * 2] * inverse[row] * low, o[row % 2 * 2 + 1] * inverse[row] * high));
      }
    }
    context.sync_warp();
    uint16_t* base = static_cast<uint16_t*>(a.out) + context.block_z() * a.out_batch_stride + context.block_y() * Shape::kHeadDim;
    LTXV_UNROLL
    for (int32_t i = 0; i < Shape::kWarpRows * Out::kChunks / kWarpSize; ++i) {
      const int32_t index = i * kWarpSize + lane, row = warp * Shape::kWarpRows + index / Out::kChunks, chunk = index % Out::kChunks;
      const int32_t query = query_block * Shape::kBlockM + row;
      const Words4 words = context.template load_shared<Words4>(Out::offset(row, chunk));
      if (query < a.q_length) context.store(reinterpret_cast<Words4*>(base + query * a.out_row_stride + chunk * 8), words);
    }
  }

  LTXV_HD void run() {
    const AttentionLaunch& a = launch.attention;
    pair = static_cast<int64_t>(context.block_z()) * a.heads + context.block_y();
    lane = context.thread() % kWarpSize, warp = context.thread() / kWarpSize;
    const MatrixAddress named = matrix_address(lane);
    query_address = Queries::offset(named.row, named.chunk), value_address = Values::offset(named.row, named.chunk);
    query_block = context.block_x(), key_count = a.k_length;
    LTXV_UNROLL
    for (int32_t row = 0; row < kRows; ++row) row_max[row] = -__builtin_huge_valf(), row_sum[row] = 0;
    LTXV_UNROLL
    for (int32_t m = 0; m < Shape::kRowTiles; ++m)
      LTXV_UNROLL
      for (int32_t n = 0; n < Shape::kValueTiles; ++n)
        LTXV_UNROLL
        for (int32_t i = 0; i < 4; ++i) out[m][n][i] = 0;

    const int32_t tiles = (key_count + Shape::kBlockN - 1) / Shape::kBlockN;
    copy_tile<Queries, Shape::kBlockM>(Shape::kQueryOffset, part<char>(at.q) + (pair * at.query_rows + query_block * Shape::kBlockM) * Shape::kHeadDim,
                                       Shape::kHeadDim);
    copy_keys(0);
    context.commit();
    LTXV_UNROLL
    for (int32_t row = 0; row < kRows; ++row)
      row_scale[row] = context.load(part<float>(at.q_scales) + pair * at.query_rows + query_block * Shape::kBlockM + warp * Shape::kWarpRows +
                                    row / 2 * 16 + row % 2 * 8 + fragment_row(lane));
    for (int32_t tile = 0; tile < tiles; ++tile) {
      context.template wait<0>();
      context.sync();
      copy_values(tile);
      context.commit();
      uint32_t scores[Shape::kRowTiles][Shape::kKeyTiles][4];
      LTXV_UNROLL
      for (int32_t m = 0; m < Shape::kRowTiles; ++m)
        LTXV_UNROLL
        for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
          LTXV_UNROLL
          for (int32_t i = 0; i < 4; ++i) scores[m][n][i] = kInt8BiasBits;
      multiply_scores(scores);
      if ((tile + 1) * Shape::kBlockN > key_count) mask_tail(scores, tile);
      context.template wait<0>();
      context.sync();
      if (tile + 1 < tiles) copy_keys(tile + 1);
      context.commit();
      uint32_t p[Shape::kValueSteps][Shape::kRowTiles][4];
      soften(scores, tile, p);
      multiply_values(p);
    }
    store_output();
  }
};

}  // namespace ltxv::ops::gpu
