// The matrix units of the emulated block: descriptors decoded, products done late, registers poisoned meanwhile.
#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/e4m3.h"
#include "kernels/sm90/hopper_block.h"

namespace ltxv::test {
namespace {

using ops::gpu::sm90::kGroupRows, ops::gpu::sm90::kStepDepth, ops::gpu::kWarpSize, ops::gpu::sm90::Operand;

void check(bool fine, const char* what) {
  if (!fine) throw std::runtime_error(what);
}

constexpr int kWarpRows = kGroupRows / 4;

}  // namespace

DecodedDescriptor decode_descriptor(uint64_t descriptor) {
  const auto bits = [&](int low, int count) {
    return static_cast<uint32_t>(descriptor >> low & ((uint64_t{1} << count) - 1));
  };
  return {bits(0, 14) * 16, bits(16, 14) * 16, bits(32, 14) * 16, bits(49, 3), bits(62, 2)};
}

// Rows of 128 bytes, eight to an atom; atoms along the rows are `stride` apart. The address is permuted as a whole.
uint32_t k_major_address(const DecodedDescriptor& d, int index, int k, int element_bytes) {
  const auto i = static_cast<uint32_t>(index);
  return swizzle_address(d.start + i / 8 * d.stride_bytes + i % 8 * 128 + static_cast<uint32_t>(k * element_bytes));
}

// 64 consecutive columns are a row of 128 bytes; the next 64 are `leading` away; eight k are an atom, the next eight
// `stride` away.
uint32_t mn_major_address(const DecodedDescriptor& d, int index, int k) {
  const auto i = static_cast<uint32_t>(index), row = static_cast<uint32_t>(k);
  return swizzle_address(d.start + i / 64 * d.leading_bytes + row / 8 * d.stride_bytes + row % 8 * 128 + i % 64 * 2);
}

void HopperBlock::wgmma_fence(int thread) {
  if (lane_of(thread) < lanes()) warps_[warp_of(thread)].fenced[lane_of(thread)] = true;
}

void HopperBlock::wgmma_commit(int thread) {
  auto& warp = warps_[warp_of(thread)];
  warp.groups[lane_of(thread)].push_back(warp.issued[lane_of(thread)]);
}

void HopperBlock::wgmma_wait(int thread, int pending) {
  fibers_.maybe_pass(setup_.pass_chance);
  auto& warp = warps_[warp_of(thread)];
  const auto& groups = warp.groups[lane_of(thread)];
  if (static_cast<int>(groups.size()) <= pending) return;
  const size_t until = groups[groups.size() - 1 - static_cast<size_t>(pending)];
  fibers_.wait_for(warp.changed, "matrix products", [&] { return warp.finished >= until; });
  warp.fenced[lane_of(thread)] = false;  // from here on registers may be touched
}

void HopperBlock::wgmma(int thread, float* d, int columns, const uint32_t* a, uint64_t a_descriptor, uint64_t b,
                        bool accumulate, Product8 eight) {
  auto& warp = warps_[warp_of(thread)];
  const int lane = lane_of(thread);
  if (lane == 0) fibers_.maybe_pass(setup_.pass_chance);
  check(warp.fenced[lane], "a matrix product without wgmma.fence before it");
  const size_t number = warp.issued[lane]++ - warp.finished;
  if (number == warp.products.size()) {
    Product product;
    product.columns = columns, product.accumulate = accumulate, product.shared_a = a == nullptr;
    product.a = a_descriptor, product.b = b, product.eight = eight;
    const int depth = eight == Product8::none ? kStepDepth : 2 * kStepDepth, bytes = eight == Product8::none ? 2 : 1;
    product.a_registers.resize(lanes());
    product.d.resize(lanes());
    const auto decoded_b = decode_descriptor(b), decoded_a = decode_descriptor(a_descriptor);
    check(decoded_b.swizzle == 1 && decoded_b.base_offset == 0, "right operand: not the 128-byte swizzle");
    for (int k = 0; k < depth; ++k)
      for (int i = 0; i < columns; ++i) {
        const auto address = a && bytes == 2 ? mn_major_address(decoded_b, i, k) : k_major_address(decoded_b, i, k, bytes);
        if (address % 16 == 0) product.pieces.push_back(address);
      }
    if (!a) {
      check(decoded_a.swizzle == 1 && decoded_a.base_offset == 0, "left operand: not the 128-byte swizzle");
      for (int k = 0; k < depth; ++k)
        for (int i = 0; i < kGroupRows; ++i)
          if (const auto address = k_major_address(decoded_a, i, k, bytes); address % 16 == 0)
            product.pieces.push_back(address);
    }
    for (const auto address : product.pieces) {
      auto& p = piece(address);
      check(p.valid && p.written_by_copy == 0, "a matrix product reads a tile that is not full");
      check(p.dirty < 0, "a matrix product reads what was written without a fence");
      ++p.read_by_async;
    }
    const auto& first = piece(product.pieces.front());
    auto& tiles = tiles_read_[{first.operand, warp_of(thread)}];
    if (tiles.empty() || tiles.back() != first.first_row) tiles.push_back(first.first_row);
    warp.products.push_back(std::move(product));
  }
  auto& product = warp.products[number];
  check(product.columns == columns && product.b == b && product.accumulate == accumulate && product.eight == eight,
        "lanes disagree on a product");
  product.a_registers[lane] = a;
  product.d[lane] = d;
  if (setup_.detail == Detail::full) {
    auto& accumulator = warp.accumulators[{lane, d}];
    if (accumulator.pending++ == 0) {
      // The registers belong to the matrix unit from now on; whoever reads them before the wait finds NaN.
      accumulator.values.assign(d, d + columns / 2);
      std::fill(d, d + columns / 2, std::numeric_limits<float>::quiet_NaN());
    }
  }
  ++product.registered;
}

void HopperBlock::run_product(int index) {
  auto& warp = warps_[index];
  const Product product = warp.products.front();
  if (setup_.detail == Detail::full) product.eight == Product8::none ? multiply(index, product) : multiply_eight(index, product);
  for (const auto address : product.pieces) --piece(address).read_by_async;
  warp.products.pop_front();
  ++warp.finished;
  fibers_.notify(warp.changed);
}

void HopperBlock::multiply(int index, const Product& product) {
  const auto element = [&](uint32_t address) {
    uint16_t bits;
    std::memcpy(&bits, &shared_.at(address - kBase), 2);
    return from_bf16(bits);
  };
  const auto b = decode_descriptor(product.b), a = decode_descriptor(product.a);
  const int first_row = index % 4 * kWarpRows;
  float left[kWarpRows][kStepDepth];
  std::vector<float> right(static_cast<size_t>(kStepDepth) * product.columns);
  for (int k = 0; k < kStepDepth; ++k)
    for (int i = 0; i < product.columns; ++i)
      right[static_cast<size_t>(k) * product.columns + i] =
          element(product.shared_a ? k_major_address(b, i, k) : mn_major_address(b, i, k));
  // Matrix fragments as the PTX ISA draws them: lane / 4 is the row, two neighbouring columns a register.
  if (product.shared_a) {
    for (int row = 0; row < kWarpRows; ++row)
      for (int k = 0; k < kStepDepth; ++k) left[row][k] = element(k_major_address(a, first_row + row, k));
  } else {
    for (int lane = 0; lane < kWarpSize; ++lane)
      for (int reg = 0; reg < 4; ++reg)
        for (int part = 0; part < 2; ++part)
          left[lane / 4 + (reg & 1) * 8][(lane & 3) * 2 + part + (reg >> 1) * 8] =
              from_bf16(static_cast<uint16_t>(product.a_registers[lane][reg] >> 16 * part));
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    auto& accumulators = warps_[index].accumulators;
    const auto found = accumulators.find({lane, product.d[lane]});
    float* d = found->second.values.data();
    for (int block = 0; block < product.columns / 8; ++block)
      for (int reg = 0; reg < 4; ++reg, ++d) {
        const int row = lane / 4 + (reg >> 1) * 8, column = block * 8 + (lane & 3) * 2 + (reg & 1);
        float sum = product.accumulate ? *d : 0.0f;
        for (int k = 0; k < kStepDepth; ++k)
          sum += left[row][k] * right[static_cast<size_t>(k) * product.columns + column];
        *d = sum;
      }
    if (--found->second.pending == 0) {
      std::copy(found->second.values.begin(), found->second.values.end(), product.d[lane]);
      accumulators.erase(found);
    }
  }
}

// A register of the left operand holds four neighbouring k of a row: row lane / 4 + 8 (register % 2), k 4 (lane % 4) + 16 (register / 2).
void HopperBlock::multiply_eight(int index, const Product& product) {
  constexpr int kDepth = 2 * kStepDepth;
  const auto b = decode_descriptor(product.b), a = decode_descriptor(product.a);
  const int first_row = index % 4 * kWarpRows;
  uint8_t left[kWarpRows][kDepth];
  std::vector<uint8_t> right(static_cast<size_t>(kDepth) * static_cast<size_t>(product.columns));
  for (int k = 0; k < kDepth; ++k)
    for (int i = 0; i < product.columns; ++i)
      right[static_cast<size_t>(k * product.columns + i)] = shared_.at(k_major_address(b, i, k, 1) - kBase);
  if (product.shared_a) {
    for (int row = 0; row < kWarpRows; ++row)
      for (int k = 0; k < kDepth; ++k) left[row][k] = shared_.at(k_major_address(a, first_row + row, k, 1) - kBase);
  } else {
    for (int lane = 0; lane < kWarpSize; ++lane)
      for (int reg = 0; reg < 4; ++reg)
        for (int byte = 0; byte < 4; ++byte)
          left[lane / 4 + (reg & 1) * 8][(lane & 3) * 4 + byte + (reg >> 1) * 16] =
              static_cast<uint8_t>(product.a_registers[static_cast<size_t>(lane)][reg] >> 8 * byte);
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    auto& accumulators = warps_[static_cast<size_t>(index)].accumulators;
    const auto found = accumulators.find({lane, product.d[static_cast<size_t>(lane)]});
    float* d = found->second.values.data();
    for (int block = 0; block < product.columns / 8; ++block)
      for (int reg = 0; reg < 4; ++reg, ++d) {
        const int row = lane / 4 + (reg >> 1) * 8, column = block * 8 + (lane & 3) * 2 + (reg & 1);
        const auto other = [&](int k) { return right[static_cast<size_t>(k * product.columns + column)]; };
        if (product.eight == Product8::e4m3) {
          float sum = product.accumulate ? *d : 0.0f;
          for (int k = 0; k < kDepth; ++k) sum += static_cast<float>(e4m3_value(left[row][k]) * e4m3_value(other(k)));
          *d = sum;
          continue;
        }
        uint32_t sum = 0;
        if (product.accumulate) std::memcpy(&sum, d, sizeof sum);
        for (int k = 0; k < kDepth; ++k) sum += static_cast<uint32_t>(static_cast<int8_t>(left[row][k]) * static_cast<int8_t>(other(k)));
        std::memcpy(d, &sum, sizeof sum);
      }
    if (--found->second.pending == 0) {
      std::memcpy(product.d[static_cast<size_t>(lane)], found->second.values.data(), found->second.values.size() * 4);
      accumulators.erase(found);
    }
  }
}

}  // namespace ltxv::test
