// The index arithmetic of the kernel, exhaustively: where elements lie in shared memory and in registers, what the
// descriptors make the hardware read, what the copies bring, and which rows exist.
#include <gtest/gtest.h>

#include <set>

#include "kernels/sm90/hopper_block.h"

namespace ltxv::test {
namespace {

using namespace ops::gpu::sm90;

template <class P>
struct Sm90Layout : testing::Test {};
using Plans = testing::Types<Plan<64>, Plan<128>>;
TYPED_TEST_SUITE(Sm90Layout, Plans);

constexpr uint32_t kBases[] = {0, 1024, 5 * 1024};

// A tile's bytes are a permutation, and they lie where a copy with the 128-byte swizzle puts them: chunk after chunk,
// row after row, 128 bytes a row, address bits 4-6 XORed with bits 7-9.
void expect_swizzled(int rows, int columns) {
  std::set<int> seen;
  for (int chunk = 0, linear = 0; chunk < columns / 64; ++chunk)
    for (int row = 0; row < rows; ++row)
      for (int in_chunk = 0; in_chunk < 64; ++in_chunk, linear += 2) {
        const int offset = swizzled_offset(row, chunk * 64 + in_chunk, rows);
        EXPECT_EQ(offset, static_cast<int>(swizzle_address(static_cast<uint32_t>(linear))));
        EXPECT_TRUE(offset >= 0 && offset < rows * columns * 2 && seen.insert(offset).second) << offset;
      }
  EXPECT_EQ(seen.size(), static_cast<size_t>(rows * columns));
}

TYPED_TEST(Sm90Layout, SwizzleIsAPermutationAndTheCopyEnginesOwn) {
  expect_swizzled(TypeParam::kQueryRows, TypeParam::kHeadDim);
  expect_swizzled(TypeParam::kKeyRows, TypeParam::kHeadDim);
}

// Every element of every step of Q K^T: the descriptor, decoded as the ISA says, addresses the swizzled element.
TYPED_TEST(Sm90Layout, RowOperandsReadTheRightElements) {
  for (const uint32_t base : kBases)
    for (int step = 0; step < TypeParam::kHeadDim / 16; ++step)
      for (const int rows : {TypeParam::kQueryRows, TypeParam::kKeyRows})
        for (int first = 0; first < rows; first += 64) {  // queries: one warpgroup's rows; keys: all of them from row 0
          if (rows == TypeParam::kKeyRows && first != 0) break;
          const int count = rows == TypeParam::kKeyRows ? rows : 64;
          const auto start = row_operand(base + static_cast<uint32_t>(first) * 128);
          const auto d = decode_descriptor(moved(start, row_operand_step(step, rows)));
          EXPECT_EQ(d.swizzle, 1u);
          EXPECT_EQ(d.base_offset, 0u);
          EXPECT_EQ(base % 1024, 0u);
          for (int i = 0; i < count; ++i)
            for (int k = 0; k < 16; ++k)
              ASSERT_EQ(k_major_address(d, i, k),
                        base + static_cast<uint32_t>(swizzled_offset(first + i, step * 16 + k, rows)))
                  << "step " << step << " row " << i << " k " << k;
        }
}

// Every element of every step of P V: column i of the product is column i of the tile, position k row 16 step + k.
TYPED_TEST(Sm90Layout, ColumnOperandsReadTheRightElements) {
  constexpr int kRows = TypeParam::kKeyRows;
  for (const uint32_t base : kBases)
    for (int step = 0; step < kRows / 16; ++step) {
      const auto d = decode_descriptor(moved(column_operand(base, kRows), column_operand_step(step)));
      EXPECT_EQ(d.swizzle, 1u);
      EXPECT_EQ(d.base_offset, 0u);
      for (int i = 0; i < TypeParam::kHeadDim; ++i)
        for (int k = 0; k < 16; ++k)
          ASSERT_EQ(mn_major_address(d, i, k), base + static_cast<uint32_t>(swizzled_offset(step * 16 + k, i, kRows)))
              << "step " << step << " column " << i << " k " << k;
    }
}

// Each reads its tile once and nothing else.
TYPED_TEST(Sm90Layout, OperandsCoverTheirTile) {
  constexpr int kRows = TypeParam::kKeyRows;
  std::set<uint32_t> by_rows, by_columns;
  for (int step = 0; step < TypeParam::kHeadDim / 16; ++step)
    for (int i = 0; i < kRows; ++i)
      for (int k = 0; k < 16; ++k)
        by_rows.insert(k_major_address(decode_descriptor(moved(row_operand(0), row_operand_step(step, kRows))), i, k));
  for (int step = 0; step < kRows / 16; ++step)
    for (int i = 0; i < TypeParam::kHeadDim; ++i)
      for (int k = 0; k < 16; ++k)
        by_columns.insert(
            mn_major_address(decode_descriptor(moved(column_operand(0, kRows), column_operand_step(step))), i, k));
  const auto elements = static_cast<size_t>(TypeParam::kStageBytes / 2);
  EXPECT_EQ(by_rows.size(), elements);
  EXPECT_EQ(by_columns.size(), elements);
  EXPECT_EQ(*by_rows.rbegin(), static_cast<uint32_t>(TypeParam::kStageBytes - 2));
  EXPECT_EQ(*by_columns.rbegin(), static_cast<uint32_t>(TypeParam::kStageBytes - 2));
}

// The address field has 14 bits of 16 bytes: the last tile of the largest block still fits, and moving it carries
// nothing into the next field.
TYPED_TEST(Sm90Layout, MovingADescriptorChangesItsAddressOnly) {
  constexpr uint32_t kLast = 227 * 1024 - TypeParam::kStageBytes - TypeParam::kStageBytes % 1024;
  for (const auto d : {row_operand(kLast), column_operand(kLast, TypeParam::kKeyRows)})
    for (uint32_t bytes = 0; bytes < TypeParam::kStageBytes; bytes += 16) {
      const auto a = decode_descriptor(d), b = decode_descriptor(moved(d, bytes));
      EXPECT_EQ(b.start, a.start + bytes);
      EXPECT_EQ(b.leading_bytes, a.leading_bytes);
      EXPECT_EQ(b.stride_bytes, a.stride_bytes);
      EXPECT_EQ(b.swizzle, a.swizzle);
    }
}

TEST(Sm90Descriptor, BitsAreWhereTheIsaSays) {
  // Start 0x12340, leading 22528, stride 1024: 0x1234, 0x580, 0x40; swizzle 1 in bits 62-63.
  EXPECT_EQ(matrix_descriptor(0x12340, 22528, 1024), 0x4000004005801234u);
}

// PTX ISA, matrix D of m64nNk16: thread t of the warpgroup, register i: row 16 (t / 32) + (t % 32) / 4, plus 8 for
// registers 2, 3 of each four; column 8 (i / 4) + 2 (t % 4) + i % 2.
TYPED_TEST(Sm90Layout, AccumulatorsHoldEveryElementOnce) {
  for (const int columns : {TypeParam::kKeyRows, TypeParam::kHeadDim}) {
    std::set<std::pair<int, int>> seen;
    for (int t = 0; t < 128; ++t)
      for (int i = 0; i < columns / 2; ++i) {
        const auto e = accumulator_element(t, i);
        EXPECT_EQ(e.row, 16 * (t / 32) + t % 32 / 4 + (i % 4 >= 2 ? 8 : 0));
        EXPECT_EQ(e.column, 8 * (i / 4) + 2 * (t % 4) + i % 2);
        EXPECT_EQ(accumulator_half(i), e.row % 16 / 8);
        EXPECT_TRUE(e.row < 64 && e.column < columns && seen.insert({e.row, e.column}).second);
      }
    EXPECT_EQ(seen.size(), static_cast<size_t>(64 * columns));
  }
}

// PTX ISA, matrix A of m64k16 in registers: register r holds columns 2 (t % 4) and the next, rows 8 further down for r
// = 1 and 3, columns 8 further right for r = 2 and 3.
TEST(Sm90Fragments, OperandsHoldEveryElementOnce) {
  std::set<std::pair<int, int>> seen;
  for (int t = 0; t < 128; ++t)
    for (int r = 0; r < 4; ++r)
      for (int part = 0; part < 2; ++part) {
        const auto e = operand_element(t, 2 * r + part);
        EXPECT_EQ(e.row, 16 * (t / 32) + t % 32 / 4 + (r == 1 || r == 3 ? 8 : 0));
        EXPECT_EQ(e.column, 2 * (t % 4) + part + (r >= 2 ? 8 : 0));
        EXPECT_TRUE(seen.insert({e.row, e.column}).second);
      }
  EXPECT_EQ(seen.size(), 64u * 16u);
}

// What makes P usable without a move: eight accumulator registers, packed in pairs, are the operand of the next step.
TYPED_TEST(Sm90Layout, AccumulatorsBecomeOperands) {
  for (int t = 0; t < 128; ++t)
    for (int step = 0; step < TypeParam::kKeyRows / 16; ++step)
      for (int i = 0; i < 8; ++i) {
        const auto from = accumulator_element(t, 8 * step + i), to = operand_element(t, i);
        EXPECT_EQ(from.row, to.row);
        EXPECT_EQ(from.column, 16 * step + to.column);
      }
}

// A warp's 32 words of one store of the output go to 32 different banks.
TYPED_TEST(Sm90Layout, StoringTheOutputMeetsNoBankConflict) {
  for (int warp = 0; warp < 4 * TypeParam::kConsumers; ++warp)
    for (int i = 0; i < TypeParam::kOutputs; i += 2) {
      std::set<int> banks;
      for (int lane = 0; lane < 32; ++lane) {
        const auto e = accumulator_element(warp % 4 * 32 + lane, i);
        banks.insert(swizzled_offset(warp / 4 * 64 + e.row, e.column, TypeParam::kQueryRows) / 4 % 32);
      }
      EXPECT_EQ(banks.size(), 32u);
    }
}

TYPED_TEST(Sm90Layout, SharedMemoryHoldsEverythingApart) {
  std::vector<std::pair<int, int>> parts = {{TypeParam::kQueryOffset, TypeParam::kQueryBytes}};
  for (int s = 0; s < TypeParam::kStages; ++s) {
    parts.push_back({TypeParam::key_offset(s), TypeParam::kStageBytes});
    parts.push_back({TypeParam::value_offset(s), TypeParam::kStageBytes});
  }
  for (const auto& [offset, bytes] : parts) EXPECT_EQ(offset % 1024, 0);
  parts.push_back({TypeParam::kBarrierOffset, TypeParam::kBarriers * 8});
  std::sort(parts.begin(), parts.end());
  int end = 0;
  for (const auto& [offset, bytes] : parts) {
    EXPECT_GE(offset, end);
    end = offset + bytes;
  }
  EXPECT_EQ(end, TypeParam::kSharedBytes);
  EXPECT_LE(TypeParam::kSharedBytes + 1023, 232448);  // what a block of an H100 may ask for, with the base rounded up
  std::set<int> barriers = {TypeParam::query_full()};
  for (int s = 0; s < TypeParam::kStages; ++s)
    for (const int b :
         {TypeParam::key_full(s), TypeParam::key_empty(s), TypeParam::value_full(s), TypeParam::value_empty(s)})
      EXPECT_TRUE(b < TypeParam::kBarriers && barriers.insert(b).second);
  EXPECT_EQ(barriers.size(), static_cast<size_t>(TypeParam::kBarriers));
}

// What setmaxnreg hands out is what the launch got: 65536 registers, in eights.
TYPED_TEST(Sm90Layout, RegistersAddUp) {
  const int at_launch = 65536 / TypeParam::kThreads / 8 * 8;
  EXPECT_EQ(128 * (TypeParam::kProducerRegisters + TypeParam::kConsumers * TypeParam::kConsumerRegisters),
            at_launch * TypeParam::kThreads);
  EXPECT_LE(TypeParam::kProducerRegisters, at_launch);
  EXPECT_GE(TypeParam::kConsumerRegisters, at_launch);
}

// Boxes bring what the barrier is told to expect, and obey the limits of cuTensorMapEncodeTiled.
TYPED_TEST(Sm90Layout, BoxesFit) {
  constexpr int kHeads = 5, kBatch = 2;
  const int64_t columns = kHeads * TypeParam::kHeadDim;
  for (const auto& [rows, bytes] : {std::pair{TypeParam::kQueryRows, TypeParam::kQueryBytes},
                                    std::pair{TypeParam::kKeyRows, TypeParam::kStageBytes}}) {
    const TensorLayout layout{nullptr, kBatch, 77, columns, 77 * 3 * columns, 3 * columns};
    EXPECT_TRUE(copyable(layout, 0x7f0000000000));
    const auto map = tensor_map(layout, rows);
    EXPECT_EQ(map.box[0] * map.box[1] * map.box[2] * map.box[3] * 2 * TypeParam::kChunks, static_cast<uint32_t>(bytes));
    EXPECT_EQ(map.box[0] * 2, 128u);  // the inner axis of a box may not exceed the swizzle
    for (int axis = 0; axis < 4; ++axis) EXPECT_LE(map.box[axis], 256u);
    for (const auto stride : map.strides) EXPECT_EQ(stride % 16, 0u);
    for (int axis = 1; axis < 3; ++axis) EXPECT_EQ(map.strides[axis] % map.strides[axis - 1], 0u);
    // Column c of head h, row r, batch b: the address of the tensor's element.
    for (const int64_t b : {0, 1})
      for (const int64_t r : {0, 76})
        for (int64_t c = 0; c < columns; ++c) {
          const auto along = static_cast<uint64_t>(c % 64) * 2 + static_cast<uint64_t>(c / 64) * map.strides[0] +
                             static_cast<uint64_t>(r) * map.strides[1] + static_cast<uint64_t>(b) * map.strides[2];
          EXPECT_EQ(along, static_cast<uint64_t>(b * layout.batch_stride + r * layout.row_stride + c) * 2);
        }
    EXPECT_EQ(map.sizes[0] * map.sizes[1], static_cast<uint64_t>(columns));
  }
}

TEST(Sm90TensorMap, RefusesWhatTheCopyEngineCannotDo) {
  const TensorLayout good{nullptr, 2, 10, 128, 1280, 128};
  const auto with = [&](auto change) {
    auto layout = good;
    change(layout);
    return copyable(layout, 256);
  };
  EXPECT_TRUE(copyable(good, 256));
  EXPECT_FALSE(copyable(good, 264));  // 16-byte addresses
  EXPECT_FALSE(with([](auto& l) { l.row_stride = 132; }));
  EXPECT_FALSE(with([](auto& l) { l.row_stride = 120; }));  // rows would overlap
  EXPECT_FALSE(with([](auto& l) { l.batch_stride = 1284; }));
  EXPECT_FALSE(with([](auto& l) { l.batch_stride = 0; }));
  EXPECT_FALSE(with([](auto& l) { l.columns = 96; }));
  EXPECT_FALSE(with([](auto& l) { l.rows = 0; }));
  EXPECT_TRUE(with([](auto& l) { l.batch = 1, l.batch_stride = 0; }));  // nobody steps there
  EXPECT_EQ(tensor_map({nullptr, 1, 10, 128, 0, 128}, 64).strides[2] % 16, 0u);
  EXPECT_GT(tensor_map({nullptr, 1, 10, 128, 0, 128}, 64).strides[2], 0u);
}

// Every length up to five tiles: every key and every query belongs to exactly one tile, and no tile is empty.
TYPED_TEST(Sm90Layout, TilesCoverEveryLength) {
  for (const int step : {TypeParam::kKeyRows, TypeParam::kQueryRows})
    for (int length = 0; length <= 5 * step; ++length) {
      std::vector<int> covered(static_cast<size_t>(length), 0);
      for (int tile = 0; tile < tiles_for(length, step); ++tile) {
        const int valid = valid_keys(length, tile, step);
        ASSERT_TRUE(valid >= 1 && valid <= step) << length << " " << tile;
        for (int i = 0; i < valid; ++i) ++covered.at(static_cast<size_t>(tile * step + i));
      }
      ASSERT_EQ(std::count(covered.begin(), covered.end(), 1), length);
    }
}

TYPED_TEST(Sm90Layout, TheMaskHidesExactlyTheMissingKeys) {
  struct Lane {
    int t;
    int group_thread() const { return t; }
  };
  for (int valid = 1; valid <= TypeParam::kKeyRows; ++valid) {
    int hidden = 0;
    for (int t = 0; t < 128; ++t) {
      float scores[TypeParam::kScores] = {};
      Lane lane{t};
      hide_missing_keys(lane, scores, valid);
      for (int i = 0; i < TypeParam::kScores; ++i) {
        const int column = 8 * (i / 4) + 2 * (t % 4) + i % 2;
        ASSERT_EQ(scores[i] == 0, column < valid) << valid << " " << t << " " << i;
        hidden += scores[i] != 0;
      }
    }
    ASSERT_EQ(hidden, 64 * (TypeParam::kKeyRows - valid));
  }
}

TYPED_TEST(Sm90Layout, RingsGoRound) {
  Ring<TypeParam::kStages> ring;
  for (int n = 0; n < 100; ++n, ring.advance()) {
    EXPECT_EQ(ring.stage, n % TypeParam::kStages);
    EXPECT_EQ(ring.phase, static_cast<uint32_t>(n / TypeParam::kStages % 2));
  }
}

}  // namespace
}  // namespace ltxv::test
