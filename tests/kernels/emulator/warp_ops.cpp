// What a whole warp does together, written from the tables of the PTX ISA and independent of kernels/attention/mma_layout.h.
#include <set>

#include "kernels/e4m3.h"
#include "kernels/emulator/emulated_thread.h"

namespace ltxv::test {

void Machine::finish_warp_op(int32_t warp) {
  LaneSlot* lanes = &slots_[static_cast<size_t>(warp * 32)];
  for (int32_t lane = 1; lane < 32; ++lane)
    if (lanes[lane].op != lanes[0].op || lanes[lane].mask != lanes[0].mask) {
      note("warp " + std::to_string(warp) + ": lanes meet in different operations");
      return;
    }
  switch (lanes[0].op) {
    case WarpOp::shuffle: {
      uint64_t values[32];
      for (int32_t lane = 0; lane < 32; ++lane) values[lane] = lanes[lane].value;
      for (int32_t lane = 0; lane < 32; ++lane) lanes[lane].value = values[lane ^ lanes[0].mask];
      break;
    }
    case WarpOp::sync: ++fences_[static_cast<size_t>(warp)]; break;
    case WarpOp::load_matrices: load_matrices(warp, false); break;
    case WarpOp::load_matrices_transposed: load_matrices(warp, true); break;
    case WarpOp::multiply: multiply(warp); break;
    case WarpOp::multiply_int8:
    case WarpOp::multiply_e4m3: multiply_bytes(warp, lanes[0].op); break;
    case WarpOp::none: note("a warp meets for nothing");
  }
  for (int32_t lane = 0; lane < 32; ++lane) lanes[lane].mask = 0;
  release_warp(warp);
}

// ldmatrix.x4: lane l names row l % 8 of matrix l / 8. Lane l receives of each matrix the elements (l / 4, 2 (l % 4)) and
// (l / 4, 2 (l % 4) + 1); transposed, the elements (2 (l % 4), l / 4) and (2 (l % 4) + 1, l / 4).
void Machine::load_matrices(int32_t warp, bool transposed) {
  LaneSlot* lanes = &slots_[static_cast<size_t>(warp * 32)];
  ++counts.matrix_loads;
  for (int32_t matrix = 0; matrix < 4; ++matrix) {
    uint16_t elements[8][8];
    std::multiset<uint32_t> banks;
    for (int32_t row = 0; row < 8; ++row) {
      const uint32_t offset = lanes[matrix * 8 + row].offset;
      const auto problem = shared_->read(offset, 16, warp, SharedMemory::kWholeWarp, now(warp * 32), elements[row]);
      if (!problem.empty()) return note("warp " + std::to_string(warp) + " ldmatrix: " + problem);
      banks.insert(offset / 16 % 8);
    }
    // Eight rows of four banks each: the phase takes as many cycles as its most wanted group of banks has rows.
    size_t most = 0;
    for (const uint32_t bank : banks) most = std::max(most, banks.count(bank));
    counts.bank_conflicts += static_cast<int64_t>(most) - 1;
    for (int32_t lane = 0; lane < 32; ++lane) {
      const int32_t a = lane / 4, b = lane % 4 * 2;
      const uint32_t low = transposed ? elements[b][a] : elements[a][b], high = transposed ? elements[b + 1][a] : elements[a][b + 1];
      lanes[lane].words[matrix] = low | high << 16;
    }
  }
}

// mma.m16n8k16.row.col, with g = lane / 4 and t = lane % 4:
//   A: register i holds row g + 8 (i % 2), columns 2t + 8 (i / 2) and the next
//   B: register i holds rows 2t + 8 i and the next, column g
//   C, D: element i holds row g + 8 (i / 2), column 2t + i % 2
void Machine::multiply(int32_t warp) {
  LaneSlot* lanes = &slots_[static_cast<size_t>(warp * 32)];
  ++counts.multiplies;
  float a[16][16], b[16][8];
  for (int32_t lane = 0; lane < 32; ++lane) {
    const int32_t g = lane / 4, t = lane % 4;
    for (int32_t i = 0; i < 4; ++i) {
      a[g + 8 * (i % 2)][2 * t + 8 * (i / 2)] = ops::gpu::bf16_low(lanes[lane].words[i]);
      a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + 1] = ops::gpu::bf16_high(lanes[lane].words[i]);
    }
    for (int32_t i = 0; i < 2; ++i) {
      b[2 * t + 8 * i][g] = ops::gpu::bf16_low(lanes[lane].b[i]);
      b[2 * t + 8 * i + 1][g] = ops::gpu::bf16_high(lanes[lane].b[i]);
    }
  }
  for (int32_t lane = 0; lane < 32; ++lane)
    for (int32_t i = 0; i < 4; ++i) {
      const int32_t row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      float sum = lanes[lane].sums[i];
      for (int32_t k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      lanes[lane].sums[i] = sum;
    }
}

// mma.m16n8k32.row.col of bytes, with g = lane / 4 and t = lane % 4:
//   A: register i holds row g + 8 (i % 2), columns 4t + 16 (i / 2) and the next three
//   B: register i holds rows 4t + 16 i and the next three, column g
//   C, D: as for multiply; for s8 whole numbers of 32 bits, which wrap
void Machine::multiply_bytes(int32_t warp, WarpOp op) {
  LaneSlot* lanes = &slots_[static_cast<size_t>(warp * 32)];
  ++counts.multiplies;
  uint8_t a[16][32], b[32][8];
  for (int32_t lane = 0; lane < 32; ++lane) {
    const int32_t g = lane / 4, t = lane % 4;
    for (int32_t byte = 0; byte < 4; ++byte) {
      for (int32_t i = 0; i < 4; ++i)
        a[g + 8 * (i % 2)][4 * t + 16 * (i / 2) + byte] = static_cast<uint8_t>(lanes[lane].words[i] >> 8 * byte);
      for (int32_t i = 0; i < 2; ++i) b[4 * t + 16 * i + byte][g] = static_cast<uint8_t>(lanes[lane].b[i] >> 8 * byte);
    }
  }
  for (int32_t lane = 0; lane < 32; ++lane)
    for (int32_t i = 0; i < 4; ++i) {
      const int32_t row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      if (op == WarpOp::multiply_e4m3) {
        for (int32_t k = 0; k < 32; ++k) lanes[lane].sums[i] += static_cast<float>(e4m3_value(a[row][k]) * e4m3_value(b[k][column]));
        continue;
      }
      uint32_t sum;
      std::memcpy(&sum, &lanes[lane].sums[i], sizeof sum);
      for (int32_t k = 0; k < 32; ++k)
        sum += static_cast<uint32_t>(static_cast<int8_t>(a[row][k]) * static_cast<int8_t>(b[k][column]));
      std::memcpy(&lanes[lane].sums[i], &sum, sizeof sum);
    }
}

}  // namespace ltxv::test
