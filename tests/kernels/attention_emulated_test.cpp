// The mma.sync attention kernel's own body, run thread by thread in the emulator against f64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/attention_mma.h"
#include "kernels/emulator/emulated_thread.h"

namespace ltxv {
namespace {

using namespace ops::gpu;
using test::EmulatedThread;
using test::Machine;

struct Case {
  int32_t batch, heads, queries, keys;
  std::vector<int32_t> lengths = {};  // of keys in use; empty: all
  bool packed = false;                // q, k and v as column ranges of one matrix
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "B" << c.batch << " A" << c.heads << " N" << c.queries << " M" << c.keys << (c.packed ? " packed" : "");
}

// 16 bytes aligned, filled with values of a bf16 normal distribution.
struct Matrix {
  std::vector<Words4> storage;
  int64_t rows, width;
  Matrix(int64_t rows, int64_t width) : storage(static_cast<size_t>(rows * width / 8)), rows(rows), width(width) {}
  uint16_t* data() { return reinterpret_cast<uint16_t*>(storage.data()); }
  size_t bytes() const { return storage.size() * 16; }
  void fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * width; ++i) data()[i] = static_cast<uint16_t>(bf16_bits(normal(random)));
  }
  double at(int64_t row, int64_t column) { return bf16_low(data()[row * width + column]); }
};

struct Problem {
  Case c;
  int32_t head_dim;
  Matrix q, k, v, out;
  AttentionLaunch launch{};

  Problem(const Case& which, int32_t e, uint32_t seed)
      : c(which), head_dim(e), q(which.batch * which.queries, width() * (which.packed ? 3 : 1)),
        k(which.packed ? 0 : which.batch * which.keys, width()), v(which.packed ? 0 : which.batch * which.keys, width()),
        out(which.batch * which.queries, width()) {
    std::mt19937 random(seed);
    for (auto* m : {&q, &k, &v}) m->fill(random);
    std::fill_n(out.data(), out.rows * out.width, uint16_t{0xffff});
    launch = {q.data(), k.data(), v.data(), out.data(), c.batch, c.heads, e, c.queries, c.keys};
    launch.q_row_stride = q.width, launch.k_row_stride = k.width, launch.v_row_stride = v.width;
    if (c.packed) {
      launch.k = q.data() + width(), launch.v = q.data() + 2 * width();
      launch.k_row_stride = launch.v_row_stride = q.width;
    }
    launch.q_batch_stride = c.queries * launch.q_row_stride;
    launch.k_batch_stride = c.keys * launch.k_row_stride, launch.v_batch_stride = c.keys * launch.v_row_stride;
    launch.out_row_stride = out.width, launch.out_batch_stride = c.queries * out.width;
    if (!c.lengths.empty()) launch.k_lengths = c.lengths.data();
    launch.scale = 1 / std::sqrt(static_cast<float>(e));
  }
  int64_t width() const { return static_cast<int64_t>(c.heads) * head_dim; }

  template <class Shape>
  std::string run(Machine& machine) {
    for (auto* m : {&q, &k, &v})
      if (m->bytes() > 0) machine.readable(m->data(), m->bytes());
    if (launch.k_lengths) machine.readable(launch.k_lengths, c.lengths.size() * 4);
    machine.writable(out.data(), out.bytes());
    const test::Grid grid{static_cast<int32_t>(ceil_div(c.queries, Shape::kBlockM)), c.heads, c.batch};
    return machine.run(grid, Shape::kThreads, Shape::kSharedBytes,
                       [&](EmulatedThread& thread) { AttentionMma<Shape, EmulatedThread>{thread, launch}.run(); });
  }

  // Largest error of any element, against f64 from the same bf16 inputs.
  double error() {
    double worst = 0;
    for (int32_t b = 0; b < c.batch; ++b)
      for (int32_t h = 0; h < c.heads; ++h)
        for (int32_t n = 0; n < c.queries; ++n) {
          const int32_t keys = c.lengths.empty() ? c.keys : std::min(c.keys, c.lengths[static_cast<size_t>(b)]);
          const auto value = [&](const void* from, int64_t batch_stride, int64_t row_stride, int32_t row, int32_t i) {
            return static_cast<double>(bf16_low(static_cast<const uint16_t*>(from)[b * batch_stride + row * row_stride + h * head_dim + i]));
          };
          std::vector<double> p(static_cast<size_t>(keys));
          double largest = -1e300, sum = 0;
          for (int32_t m = 0; m < keys; ++m) {
            double s = 0;
            for (int32_t i = 0; i < head_dim; ++i)
              s += value(launch.q, launch.q_batch_stride, launch.q_row_stride, n, i) *
                   value(launch.k, launch.k_batch_stride, launch.k_row_stride, m, i);
            largest = std::max(largest, p[static_cast<size_t>(m)] = s / std::sqrt(static_cast<double>(head_dim)));
          }
          for (auto& x : p) sum += x = std::exp(x - largest);
          for (int32_t i = 0; i < head_dim; ++i) {
            double expected = 0;
            for (int32_t m = 0; m < keys; ++m)
              expected += p[static_cast<size_t>(m)] / sum * value(launch.v, launch.v_batch_stride, launch.v_row_stride, m, i);
            const double got = out.at(b * c.queries + n, h * head_dim + i);
            worst = std::isnan(got) ? std::numeric_limits<double>::infinity() : std::max(worst, std::abs(got - expected));
          }
        }
    return worst;
  }
};

// Values are averages of normal ones, so below 4 in magnitude; p and the result are rounded to bf16, 2^-9 each of at most 4.
constexpr double kTolerance = 2 * 4.0 / 512;

template <class Shape>
void expect_right(const Case& c, uint32_t seed) {
  Problem problem(c, Shape::kHeadDim, seed);
  Machine machine(seed);
  ASSERT_EQ(problem.run<Shape>(machine), "") << c << " head width " << Shape::kHeadDim;
  EXPECT_LE(problem.error(), kTolerance) << c << " head width " << Shape::kHeadDim;
  EXPECT_EQ(machine.counts.bank_conflicts, 0) << c;
}

const Case kCases[] = {{1, 1, 1, 1},   {1, 1, 5, 31},  {1, 1, 17, 33}, {1, 1, 16, 64},          {1, 2, 7, 65},         {1, 1, 129, 40},
                       {2, 1, 3, 130}, {1, 1, 128, 8}, {1, 2, 30, 50, {}, true}, {3, 1, 9, 70, {70, 1, 33}}, {2, 1, 4, 20, {0, 20}}};

TEST(AttentionEmulated, EqualsF64ForOddSizesLengthsAndStrides) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 1;
  for (const auto& c : kCases) {
    // A packed matrix has as many keys as queries.
    Case fitting = c;
    if (c.packed) fitting.keys = c.queries;
    expect_right<MmaShape64>(fitting, ++seed);
    expect_right<MmaShape128>(fitting, ++seed);
  }
}

TEST(AttentionEmulated, TheOrderOfWarpsDoesNotMatter) {
  LTXV_NEEDS_FIBERS();
  std::vector<Words4> first;
  for (uint32_t order = 1; order <= 6; ++order) {
    Problem problem({1, 1, 20, 150}, 64, 7);
    Machine machine(order);
    ASSERT_EQ(problem.run<MmaShape64>(machine), "");
    if (first.empty()) first = problem.out.storage;
    EXPECT_EQ(std::memcmp(first.data(), problem.out.storage.data(), problem.out.bytes()), 0) << order;
  }
}

// Each barrier and each wait is needed, and its absence is seen: this is what makes the tests above worth something.
TEST(AttentionEmulated, NoBarrierCanBeLeftOut) {
  LTXV_NEEDS_FIBERS();
  const auto run_without = [](int32_t sync, int32_t wait) {
    for (uint32_t order = 1; order <= 8; ++order) {
      Problem problem({1, 1, 128, 3 * MmaShape128::kBlockN}, 128, 3);
      Machine machine(order);
      machine.dropped_sync = sync, machine.dropped_wait = wait;
      const auto found = problem.run<MmaShape128>(machine);
      if (!found.empty()) return found;
    }
    return std::string();
  };
  EXPECT_EQ(run_without(-1, -1), "");
  for (int32_t i = 0; i < 6; ++i) {
    EXPECT_NE(run_without(i, -1), "") << "sync " << i;
    EXPECT_NE(run_without(-1, i), "") << "wait " << i;
  }
}

TEST(AttentionEmulated, UsesEveryProductOnce) {
  LTXV_NEEDS_FIBERS();
  Problem problem({1, 1, 128, 128}, 64, 3);
  Machine machine(1);
  ASSERT_EQ(problem.run<MmaShape64>(machine), "");
  // 2 N M E multiply-adds in pieces of 16 x 8 x 16.
  EXPECT_EQ(machine.counts.multiplies, 2 * 128 * 128 * 64 / (16 * 8 * 16));
  // q, k and v once, 16 bytes each.
  EXPECT_EQ(machine.counts.copies, 3 * 128 * 64 * 2 / 16);
}

}  // namespace
}  // namespace ltxv
