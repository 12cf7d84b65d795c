// The index arithmetic of the attention kernel, for every lane, row and chunk.
#include "attention/mma_layout.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "vae_norm/depth_to_space_rows.h"

namespace ltxv {
namespace {

using namespace ops::gpu;

// Usable before run time too, as the kernels use it.
static_assert(Tile<64>::offset(1, 0) == 128 + 16 && Tile<128>::offset(9, 3) == 9 * 256 + (3 ^ 1) * 16);

template <int32_t kHeadDim>
void expect_tile_is_a_bijection(int32_t rows) {
  std::set<uint32_t> seen;
  for (int32_t row = 0; row < rows; ++row)
    for (int32_t chunk = 0; chunk < Tile<kHeadDim>::kChunks; ++chunk) {
      const uint32_t offset = Tile<kHeadDim>::offset(row, chunk);
      EXPECT_EQ(offset % 16, 0u);
      EXPECT_LT(offset, static_cast<uint32_t>(rows * kHeadDim * 2));
      EXPECT_TRUE(seen.insert(offset).second) << row << " " << chunk;
    }
}

TEST(MmaLayout, SwizzledTilesAreBijections) {
  expect_tile_is_a_bijection<64>(128);
  expect_tile_is_a_bijection<128>(128);
}

// Eight rows that start in eight different groups of four banks are read in one cycle.
template <int32_t kHeadDim>
void expect_no_conflicts(int32_t rows) {
  for (int32_t row = 0; row < rows; row += 8)
    for (int32_t chunk = 0; chunk < Tile<kHeadDim>::kChunks; ++chunk) {
      std::set<uint32_t> groups;
      for (int32_t i = 0; i < 8; ++i) groups.insert(Tile<kHeadDim>::offset(row + i, chunk) / 16 % 8);
      EXPECT_EQ(groups.size(), 8u) << row << " " << chunk;
    }
}

TEST(MmaLayout, MatrixPhasesMeetNoBankConflict) {
  expect_no_conflicts<64>(128);
  expect_no_conflicts<128>(128);
}

TEST(MmaLayout, AdvancingIsAnOffsetTwoChunksFurther) {
  for (int32_t lane = 0; lane < 32; ++lane)
    for (int32_t base = 0; base < 128; base += 16) {
      const MatrixAddress at = matrix_address(lane);
      for (int32_t step = 0; step < 4; ++step)
        EXPECT_EQ(Tile<64>::advance(Tile<64>::offset(base + at.row, at.chunk), step), Tile<64>::offset(base + at.row, at.chunk + 2 * step));
      for (int32_t step = 0; step < 8; ++step)
        EXPECT_EQ(Tile<128>::advance(Tile<128>::offset(base + at.row, at.chunk), step), Tile<128>::offset(base + at.row, at.chunk + 2 * step));
    }
}

TEST(MmaLayout, LanesNameEachRowAndChunkOfABlockOnce) {
  std::set<std::pair<int32_t, int32_t>> named;
  for (int32_t lane = 0; lane < 32; ++lane) named.insert({matrix_address(lane).row, matrix_address(lane).chunk});
  EXPECT_EQ(named.size(), 32u);
  for (const auto& [row, chunk] : named) EXPECT_TRUE(row >= 0 && row < 16 && chunk >= 0 && chunk < 2);
}

TEST(MmaLayout, FragmentsCoverAnAccumulatorOnce) {
  std::set<std::pair<int32_t, int32_t>> seen;
  for (int32_t lane = 0; lane < 32; ++lane)
    for (int32_t i = 0; i < 4; ++i) seen.insert({fragment_row(lane) + i / 2 * 8, fragment_column(lane) + i % 2});
  EXPECT_EQ(seen.size(), 16u * 8u);
}

template <class Shape>
void expect_copies_cover(int32_t tile_rows) {
  using Plan = CopyPlan<Shape::kHeadDim, Shape::kThreads>;
  ASSERT_EQ(tile_rows % Plan::kRowStep, 0);
  std::map<std::pair<int32_t, int32_t>, int32_t> copied;
  for (int32_t thread = 0; thread < Shape::kThreads; ++thread) {
    const Plan plan = Plan::of(thread);
    for (int32_t i = 0; i < tile_rows / Plan::kRowStep; ++i) {
      ++copied[{plan.row + i * Plan::kRowStep, plan.chunk}];
      // The kernel adds whole rows to its first offset.
      EXPECT_EQ(Tile<Shape::kHeadDim>::offset(plan.row + i * Plan::kRowStep, plan.chunk),
                Tile<Shape::kHeadDim>::offset(plan.row, plan.chunk) + static_cast<uint32_t>(i * Plan::kRowStep * Tile<Shape::kHeadDim>::kRowBytes));
    }
  }
  EXPECT_EQ(copied.size(), static_cast<size_t>(tile_rows * Tile<Shape::kHeadDim>::kChunks));
  for (const auto& [where, times] : copied) EXPECT_EQ(times, 1) << where.first << " " << where.second;
}

TEST(MmaLayout, CopiesCoverEachTileOnce) {
  expect_copies_cover<MmaShape64>(MmaShape64::kBlockM);
  expect_copies_cover<MmaShape64>(MmaShape64::kBlockN);
  expect_copies_cover<MmaShape128>(MmaShape128::kBlockM);
  expect_copies_cover<MmaShape128>(MmaShape128::kBlockN);
}

// For every length: tiles cover all keys, only the last has a tail, and the mask of a lane hits exactly the columns outside.
template <class Shape>
void expect_tails() {
  for (int32_t keys = 1; keys <= 3 * Shape::kBlockN + 1; ++keys) {
    const int32_t tiles = (keys + Shape::kBlockN - 1) / Shape::kBlockN;
    EXPECT_GE(tiles * Shape::kBlockN, keys);
    EXPECT_LT((tiles - 1) * Shape::kBlockN, keys);  // no tile without a key: its row maximum stays finite
    int32_t inside = 0;
    for (int32_t tile = 0; tile < tiles; ++tile) {
      EXPECT_EQ((tile + 1) * Shape::kBlockN > keys, tile == tiles - 1 && keys % Shape::kBlockN != 0);
      for (int32_t lane = 0; lane < 4; ++lane)  // the four lanes of a row
        for (int32_t n = 0; n < Shape::kKeyTiles; ++n)
          for (int32_t i = 0; i < 2; ++i) inside += tile * Shape::kBlockN + fragment_column(lane) + n * 8 + i < keys;
    }
    EXPECT_EQ(inside, keys);
  }
}

TEST(MmaLayout, TailsOfEveryLength) {
  expect_tails<MmaShape64>();
  expect_tails<MmaShape128>();
}

TEST(MmaLayout, SharedMemoryFitsTwoBlocks) {
  // sm_86 and sm_89 have 100 KiB a multiprocessor, 1 KiB of each block is the system's.
  EXPECT_LE(2 * (MmaShape64::kSharedBytes + 1024), 100u * 1024);
  EXPECT_LE(2 * (MmaShape128::kSharedBytes + 1024), 100u * 1024);
}

// depth_to_space: lanes of a warp read channel c * 8 + i at subposition p, p fastest. Words in one bank cost a cycle each.
template <int32_t kBytes>
int32_t worst_conflict(int32_t subpositions) {
  int32_t worst = 0;
  for (int32_t i = 0; i < 8; ++i) {
    std::map<uint32_t, std::set<uint32_t>> words;  // by bank
    for (int32_t lane = 0; lane < 32; ++lane) {
      const int32_t p = lane % subpositions, c = lane / subpositions * 8 + i;
      const uint32_t word = staged_offset<kBytes>(c * subpositions + p) / 4;
      words[word % 32].insert(word);
    }
    for (const auto& [bank, different] : words) worst = std::max(worst, static_cast<int32_t>(different.size()));
  }
  return worst;
}

TEST(DepthToSpaceLayout, StagingMeetsFewBankConflicts) {
  EXPECT_EQ(worst_conflict<2>(8), 1);
  EXPECT_EQ(worst_conflict<4>(8), 1);
  EXPECT_EQ(worst_conflict<2>(4), 1);
  EXPECT_LE(worst_conflict<2>(2), 2);
  EXPECT_LE(worst_conflict<4>(4), 2);
  EXPECT_LE(worst_conflict<4>(2), 4);
}

TEST(DepthToSpaceLayout, StagedElementsStayApart) {
  for (int32_t element = 0; element + 1 < 4096; ++element) {
    EXPECT_GE(staged_offset<2>(element + 1), staged_offset<2>(element) + 2);
    EXPECT_GE(staged_offset<4>(element + 1), staged_offset<4>(element) + 4);
  }
  for (int32_t piece = 0; piece < 512; ++piece) EXPECT_EQ(staged_offset<2>(piece * 8) % 16, 0u);
}

}  // namespace
}  // namespace ltxv
