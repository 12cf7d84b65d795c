// The index arithmetic of the eight-bit attention, for every lane, row and chunk.
#include "attention_int8/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace ltxv {
namespace {

using namespace ops::gpu;

static_assert(ByteTile<128>::offset(1, 0) == 128 + 16 && ByteTile<64>::offset(3, 0) == 192 + 16 && ByteTile<32>::offset(4, 1) == 128);

template <int32_t kRowBytes>
void expect_tile(int32_t rows) {
  using T = ByteTile<kRowBytes>;
  std::set<uint32_t> seen;
  for (int32_t row = 0; row < rows; ++row)
    for (int32_t chunk = 0; chunk < T::kChunks; ++chunk) {
      EXPECT_EQ(T::offset(row, chunk) % 16, 0u);
      EXPECT_LT(T::offset(row, chunk), static_cast<uint32_t>(rows * kRowBytes));
      EXPECT_TRUE(seen.insert(T::offset(row, chunk)).second) << kRowBytes << " " << row << " " << chunk;
    }
  // Eight rows that start in eight different groups of four banks are read in one cycle.
  for (int32_t row = 0; row < rows; row += 8)
    for (int32_t chunk = 0; chunk < T::kChunks; ++chunk) {
      std::set<uint32_t> groups;
      for (int32_t i = 0; i < 8; ++i) groups.insert(T::offset(row + i, chunk) / 16 % 8);
      EXPECT_EQ(groups.size(), 8u) << kRowBytes << " " << row << " " << chunk;
    }
  for (int32_t lane = 0; lane < 32; ++lane)
    for (int32_t base = 0; base < rows; base += 16)
      for (int32_t step = 0; step < T::kChunks / 2; ++step) {
        const MatrixAddress at = matrix_address(lane);
        // The kernel adds whole rows to a lane's address and XORs the step into it.
        EXPECT_EQ(T::advance(T::offset(at.row, at.chunk), step) + static_cast<uint32_t>(base * kRowBytes), T::offset(base + at.row, at.chunk + 2 * step));
      }
}

TEST(Int8Layout, TilesAreBijectionsWithoutBankConflicts) {
  expect_tile<32>(128);
  expect_tile<64>(128);
  expect_tile<128>(128);
}

template <class T, int32_t kThreads>
void expect_copies_cover(int32_t rows) {
  using Plan = ByteCopyPlan<T::kRowBytes, kThreads>;
  ASSERT_EQ(rows % Plan::kRowStep, 0);
  std::map<std::pair<int32_t, int32_t>, int32_t> copied;
  for (int32_t thread = 0; thread < kThreads; ++thread) {
    const Plan plan = Plan::of(thread);
    for (int32_t i = 0; i < rows / Plan::kRowStep; ++i) {
      ++copied[{plan.row + i * Plan::kRowStep, plan.chunk}];
      EXPECT_EQ(T::offset(plan.row + i * Plan::kRowStep, plan.chunk),
                T::offset(plan.row, plan.chunk) + static_cast<uint32_t>(i * Plan::kRowStep * T::kRowBytes));
    }
  }
  EXPECT_EQ(copied.size(), static_cast<size_t>(rows * T::kChunks));
  for (const auto& [where, times] : copied) EXPECT_EQ(times, 1) << where.first << " " << where.second;
}

template <class Shape>
void expect_shape() {
  expect_copies_cover<typename Shape::QueryTile, Shape::kThreads>(Shape::kBlockM);
  expect_copies_cover<typename Shape::QueryTile, Shape::kThreads>(Shape::kBlockN);
  expect_copies_cover<typename Shape::ValueTile, Shape::kThreads>(Shape::kHeadDim);
  EXPECT_EQ(kInt8KeyTile % Shape::kBlockN, 0) << "a tile of the kernel lies in one tile of scales";
  EXPECT_LE(2 * (Shape::kSharedBytes + 1024), 100u * 1024) << "two blocks on sm_89";
  EXPECT_LE(127ll * 127 * Shape::kHeadDim, (1ll << 22) - 1) << "a sum of products stays a float's low bits";
}

TEST(Int8Layout, ShapesFit) {
  expect_shape<Int8Shape64>();
  expect_shape<Int8Shape128>();
}

// The words a lane makes of its scores are those the second product reads, for the values in the order of key_at.
TEST(Int8Layout, ScoresAreTheSecondProductsOperand) {
  std::set<int32_t> keys;
  for (int32_t position = 0; position < 32; ++position) {
    EXPECT_TRUE(key_at(position) >= 0 && key_at(position) < 32);
    keys.insert(key_at(position));
  }
  EXPECT_EQ(keys.size(), 32u);
  for (int32_t lane = 0; lane < 32; ++lane)
    for (int32_t chunk = 0; chunk < 2; ++chunk)
      for (int32_t byte = 0; byte < 4; ++byte) {
        // As soften() packs them: scores 0 and 1 of tile 2 chunk, then of the next; a tile is eight keys wide.
        const int32_t packed = (chunk * 2 + byte / 2) * 8 + fragment_column(lane) + byte % 2;
        // PTX: byte b of a register of A's chunk is column 4t + b + 16 chunk.
        EXPECT_EQ(key_at(4 * (lane % 4) + byte + 16 * chunk), packed) << lane << " " << chunk << " " << byte;
      }
}

TEST(Int8Layout, PartsOfTheWorkspaceAreAlignedAndApart) {
  for (const int64_t head_dim : {64, 128})
    for (const int64_t pairs : {1, 3, 64})
      for (int64_t n = 1; n <= 300; n += 7) {
        const Int8Workspace w = int8_workspace(pairs, head_dim, n, 301 - n);
        EXPECT_TRUE(w.query_rows % kInt8QueryBlock == 0 && w.query_rows >= n && w.query_rows < n + kInt8QueryBlock);
        EXPECT_TRUE(w.key_rows % (2 * kInt8KeyTile) == 0 && w.key_rows >= 301 - n && w.key_rows < 301 - n + 2 * kInt8KeyTile);
        const std::pair<int64_t, int64_t> parts[] = {{w.parts, pairs * kInt8Parts * 2 * head_dim * 4}, {w.q, pairs * w.query_rows * head_dim},
                                                     {w.q_scales, pairs * w.query_rows * 4}, {w.k, pairs * w.key_rows * head_dim},
                                                     {w.k_scales, pairs * w.key_rows / 64 * 4}, {w.v, pairs * w.key_rows * head_dim},
                                                     {w.v_scales, pairs * head_dim * 4}};
        int64_t end = 0;
        for (const auto& [begin, bytes] : parts) {
          EXPECT_EQ(begin % 16, 0);
          EXPECT_GE(begin, end);
          end = begin + bytes;
        }
        EXPECT_GE(w.bytes, end);
      }
}

}  // namespace
}  // namespace ltxv
