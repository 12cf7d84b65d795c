// Bodies of the row kernels, run in the emulator against f64.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "adaln/norm_modulate_rows.h"
#include "kernels/emulator/emulated_thread.h"
#include "kernels/e4m3.h"
#include "kernels/emulator/values.h"
#include "qk_norm_rope/qk_norm_rope_rows.h"
#include "quant_linear/quantise_rows.h"

namespace ltxv {
namespace {

using namespace ops::gpu;
using test::EmulatedThread;
using test::kTypes;
using test::Machine;
using test::tolerance;
using test::Values;
using test::with_type;

struct RopeCase {
  int32_t rows, tokens, width, count;
  int64_t gap;  // elements between rows beyond the width
  enum Tables { none, full, separable } tables;
};

void check_rope(const RopeCase& c, Element type, uint32_t seed) {
  std::mt19937 random(seed);
  const auto stride = static_cast<size_t>(c.width + c.gap);
  const auto width = static_cast<size_t>(c.width), half = width / 2, frequencies = width / 6;
  std::vector<Values> x, weight, before;
  for (int32_t i = 0; i < c.count; ++i) {
    x.push_back(Values(type, static_cast<size_t>(c.rows) * stride).fill(random));
    weight.push_back(Values(type, width).fill(random));
  }
  before = x;
  const size_t table_rows = 5;
  const bool separable = c.tables == RopeCase::separable;
  Values angle(Element::f32, separable ? table_rows * frequencies : static_cast<size_t>(c.tokens) * half);
  angle.fill(random);
  Values cos = angle, sin = angle;
  for (size_t i = 0; i < angle.count; ++i) cos.set(i, static_cast<float>(std::cos(angle.at(i)))), sin.set(i, static_cast<float>(std::sin(angle.at(i))));
  std::vector<int32_t> index;
  for (int32_t i = 0; i < c.tokens * 3; ++i) index.push_back((i * 7 + 2) % static_cast<int32_t>(table_rows));

  QkNormRopeLaunch launch{type, c.count};
  Machine machine(seed);
  for (int32_t i = 0; i < c.count; ++i) {
    launch.x[i] = x[static_cast<size_t>(i)].data(), launch.weight[i] = weight[static_cast<size_t>(i)].data();
    machine.writable(launch.x[i], x[static_cast<size_t>(i)].bytes());
    machine.readable(launch.weight[i], weight[static_cast<size_t>(i)].bytes());
  }
  launch.row_stride = static_cast<int64_t>(stride), launch.rows = c.rows, launch.tokens = c.tokens, launch.width = c.width, launch.eps = 1e-5f;
  if (c.tables != RopeCase::none) {
    launch.cos = static_cast<float*>(cos.data()), launch.sin = static_cast<float*>(sin.data());
    machine.readable(cos.data(), cos.bytes()), machine.readable(sin.data(), sin.bytes());
  }
  if (separable) launch.table_rows = index.data(), machine.readable(index.data(), index.size() * 4);
  std::string problem;
  with_row_plan(c.width, [&]<int32_t kThreads, int32_t kEights>() -> int {
    with_type(type, [&]<Element kType>() {
      problem = machine.run({c.rows, c.count, 1}, kThreads, kRowSharedBytes, [&](EmulatedThread& thread) {
        QkNormRope<kType, kThreads, kEights, EmulatedThread>{thread, launch}.run();
      });
    });
    return 0;
  });
  ASSERT_EQ(problem, "") << c.width;
  double worst = 0;
  for (size_t which = 0; which < x.size(); ++which)
    for (size_t row = 0; row < static_cast<size_t>(c.rows); ++row) {
      const size_t token = row % static_cast<size_t>(c.tokens);
      double squares = 0;
      for (size_t i = 0; i < width; ++i) squares += std::pow(before[which].at(row * stride + i), 2);
      const double inverse = 1 / std::sqrt(squares / c.width + 1e-5);
      const auto normed = [&](size_t i) { return before[which].at(row * stride + i) * inverse * weight[which].at(i); };
      for (size_t pair = 0; pair < half; ++pair) {
        double turn_cos = 1, turn_sin = 0;
        if (c.tables == RopeCase::full) turn_cos = cos.at(token * half + pair), turn_sin = sin.at(token * half + pair);
        // From the definition: the last 3K pairs, [K,3] of them, frequency slowest.
        const size_t fixed = half - 3 * frequencies;
        if (separable && pair >= fixed) {
          const size_t axis = (pair - fixed) % 3, k = (pair - fixed) / 3;
          const auto table_row = static_cast<size_t>(index[token * 3 + axis]);
          turn_cos = cos.at(table_row * frequencies + k), turn_sin = sin.at(table_row * frequencies + k);
        }
        const double even = normed(2 * pair), odd = normed(2 * pair + 1);
        worst = std::max(worst, std::abs(x[which].at(row * stride + 2 * pair) - (even * turn_cos - odd * turn_sin)));
        worst = std::max(worst, std::abs(x[which].at(row * stride + 2 * pair + 1) - (odd * turn_cos + even * turn_sin)));
      }
      for (size_t i = width; i < stride; ++i) EXPECT_EQ(x[which].at(row * stride + i), before[which].at(row * stride + i));
    }
  EXPECT_LE(worst, tolerance(type)) << c.width << " tables " << c.tables;
}

TEST(RowKernelsEmulated, QkNormRope) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 0;
  for (const auto type : kTypes)
    for (const RopeCase& c : {RopeCase{1, 1, 8, 1, 0, RopeCase::none}, {3, 3, 8, 2, 0, RopeCase::separable}, {5, 2, 64, 2, 128, RopeCase::full},
                              {2, 2, 520, 1, 8, RopeCase::separable}, {2, 1, 2048, 2, 0, RopeCase::separable},
                              {1, 1, 2056, 1, 0, RopeCase::full}, {1, 1, 8192, 1, 0, RopeCase::separable}})
      check_rope(c, type, ++seed);
}

void expect_e4m3_row(const uint8_t* codes, double scale, const std::vector<double>& y, double largest) {
  for (size_t i = 0; i < y.size(); ++i) {
    const double value = test::e4m3_value(codes[i]) * scale;
    // Half a step of the largest binade, 448 / 16 of it, is 1/28 of the row's largest value.
    EXPECT_LE(std::abs(value - y[i]), largest / 28) << i;
    EXPECT_LE(std::abs(value - y[i]), std::abs(y[i]) / 16 + largest / 448 / 1024 + 1e-6) << i;
  }
  EXPECT_NEAR(scale * 448, largest, 1e-4 * largest);
}

struct NormCase {
  int32_t rows, tokens, width;
  bool indexed, update, gate, norm;
};

void check_norm(const NormCase& c, Element type, Element out_type, uint32_t seed) {
  std::mt19937 random(seed);
  const auto width = static_cast<size_t>(c.width), rows = static_cast<size_t>(c.rows), levels = size_t{3};
  const size_t table_stride = 3 * width;  // tables are columns of one wider table
  Values x(type, rows * width), update(type, rows * width), table(Element::f32, levels * table_stride), out(type, rows * width);
  x.fill(random), update.fill(random), table.fill(random);
  const Values before = x;
  std::vector<uint8_t> narrow(rows * width + 16);
  auto* codes = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(narrow.data()) + 15) / 16 * 16);
  std::vector<float> row_scale(rows);
  std::vector<int64_t> index;
  for (int32_t i = 0; i < c.tokens; ++i) index.push_back((i * 2 + 1) % 3);

  NormModulateLaunch launch{type, out_type, x.data()};
  auto* tables = static_cast<float*>(table.data());
  if (c.update) launch.update = update.data();
  if (c.gate) launch.gate = tables;
  if (c.norm) launch.out = out_type == Element::e4m3 ? codes : out.data(), launch.scale = tables + width, launch.shift = tables + 2 * width;
  launch.row_scale = row_scale.data(), launch.table_stride = static_cast<int64_t>(table_stride);
  if (c.indexed) launch.index = index.data();
  launch.rows = c.rows, launch.tokens = c.tokens, launch.width = c.width, launch.eps = 1e-6f;
  Machine machine(seed);
  if (c.update)
    machine.writable(x.data(), x.bytes());
  else
    machine.readable(x.data(), x.bytes());
  machine.readable(update.data(), update.bytes()), machine.readable(tables, table.bytes());
  machine.readable(index.data(), index.size() * 8);
  if (out_type == Element::e4m3)
    machine.writable(codes, rows * width), machine.writable(row_scale.data(), rows * 4);
  else
    machine.writable(out.data(), out.bytes());
  std::string problem;
  with_row_plan(c.width, [&]<int32_t kThreads, int32_t kEights>() -> int {
    with_type(type, [&]<Element kType>() {
      problem = machine.run({c.rows}, kThreads, kRowSharedBytes, [&](EmulatedThread& thread) {
        if (out_type == Element::e4m3)
          NormModulate<kType, Element::e4m3, kThreads, kEights, EmulatedThread>{thread, launch}.run();
        else
          NormModulate<kType, kType, kThreads, kEights, EmulatedThread>{thread, launch}.run();
      });
    });
    return 0;
  });
  ASSERT_EQ(problem, "") << c.width;
  for (size_t row = 0; row < rows; ++row) {
    const size_t entry = c.indexed ? static_cast<size_t>(index[row % static_cast<size_t>(c.tokens)]) : 0;
    const auto in_table = [&](size_t which, size_t i) { return table.at(entry * table_stride + which * width + i); };
    std::vector<double> y(width);
    double squares = 0, sum_error = 0, largest = 0, out_error = 0;
    for (size_t i = 0; i < width; ++i) {
      const double sum = before.at(row * width + i) + (c.update ? update.at(row * width + i) * (c.gate ? in_table(0, i) : 1) : 0);
      sum_error = std::max(sum_error, std::abs(x.at(row * width + i) - sum));
      // The norm is of what was stored: another rounding than this f64 one would carry over.
      y[i] = x.at(row * width + i);
      squares += y[i] * y[i];
    }
    EXPECT_LE(sum_error, c.update ? tolerance(type) : 0);
    if (!c.norm) continue;
    for (size_t i = 0; i < width; ++i) {
      y[i] = y[i] / std::sqrt(squares / c.width + 1e-6) * (1 + in_table(1, i)) + in_table(2, i);
      largest = std::max(largest, std::abs(y[i]));
    }
    if (out_type == Element::e4m3) {
      expect_e4m3_row(codes + row * width, row_scale[row], y, largest);
      continue;
    }
    for (size_t i = 0; i < width; ++i) out_error = std::max(out_error, std::abs(out.at(row * width + i) - y[i]));
    EXPECT_LE(out_error, tolerance(type)) << c.width;
  }
}

TEST(RowKernelsEmulated, NormModulateAndItsHalves) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 100;
  for (const auto type : kTypes)
    for (const NormCase& c : {NormCase{1, 1, 8, false, false, false, true}, {5, 2, 24, true, true, true, true}, {3, 3, 512, true, true, false, true},
                              {2, 2, 520, false, true, true, false}, {2, 1, 2048, true, true, true, true}, {1, 1, 4096, false, true, true, true},
                              {1, 1, 8192, false, false, false, true}}) {
      check_norm(c, type, type, ++seed);
      if (c.norm) check_norm(c, type, Element::e4m3, ++seed);
    }
}

TEST(RowKernelsEmulated, ARowOfZerosIsZerosInE4m3) {
  LTXV_NEEDS_FIBERS();
  std::vector<Words4> x(1024), out(1024);
  std::vector<float> zeros(512), row_scale(1, -1);
  NormModulateLaunch launch{Element::f32, Element::e4m3, x.data()};
  launch.out = out.data(), launch.row_scale = row_scale.data(), launch.scale = launch.shift = zeros.data();
  launch.rows = launch.tokens = 1, launch.width = 512, launch.eps = 1e-6f;
  Machine machine;
  machine.readable(x.data(), 512 * 4), machine.readable(zeros.data(), 512 * 4);
  machine.writable(out.data(), 512), machine.writable(row_scale.data(), 4);
  const auto problem = machine.run({}, 64, kRowSharedBytes, [&](EmulatedThread& thread) {
    NormModulate<Element::f32, Element::e4m3, 64, 1, EmulatedThread>{thread, launch}.run();
  });
  // Zero tables need 16-byte alignment, which this allocation has on every platform we build for.
  ASSERT_EQ(problem, "");
  EXPECT_EQ(row_scale[0], 0);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(out[i].x | out[i].y | out[i].z | out[i].w, 0u);
}

void check_quantise(int32_t rows, int32_t width, bool gelu, Element type, uint32_t seed) {
  std::mt19937 random(seed);
  const auto count = static_cast<size_t>(rows) * static_cast<size_t>(width);
  Values x(type, count);
  x.fill(random);
  std::vector<Words4> codes(count / 16 + 1);  // aligned as the kernel asks
  std::vector<float> scales(static_cast<size_t>(rows));
  const QuantiseRowsLaunch launch{type, x.data(), codes.data(), scales.data(), rows, width, gelu};
  Machine machine(seed);
  machine.readable(x.data(), x.bytes()), machine.writable(codes.data(), count), machine.writable(scales.data(), scales.size() * 4);
  std::string problem;
  with_quant_plan(width, [&]<int32_t kThreads, int32_t kEights>() -> int {
    with_type(type, [&]<Element kType>() {
      problem = machine.run({rows}, kThreads, kRowSharedBytes,
                            [&](EmulatedThread& thread) { QuantiseRows<kType, kThreads, kEights, EmulatedThread>{thread, launch}.run(); });
    });
    return 0;
  });
  ASSERT_EQ(problem, "") << width;
  for (size_t row = 0; row < scales.size(); ++row) {
    std::vector<double> y(static_cast<size_t>(width));
    double largest = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = x.at(row * y.size() + i);
      if (gelu) y[i] = 0.5 * y[i] * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (y[i] + 0.044715 * y[i] * y[i] * y[i])));
      largest = std::max(largest, std::abs(y[i]));
    }
    expect_e4m3_row(reinterpret_cast<const uint8_t*>(codes.data()) + row * y.size(), scales[row], y, largest);
  }
}

TEST(RowKernelsEmulated, QuantiseRows) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 200;
  for (const auto type : kTypes)
    for (const bool gelu : {false, true})
      for (const auto& [rows, width] : {std::pair{1, 8}, {5, 24}, {3, 512}, {2, 520}, {2, 2048}, {1, 2056}, {1, 8192}, {2, 8200}, {1, 16384}})
        check_quantise(rows, width, gelu, type, ++seed);
}

TEST(RowKernelsEmulated, GeluOfHugeAndTinyValuesStaysFinite) {
  LTXV_NEEDS_FIBERS();
  std::vector<Floats4> x = {{1e30f, -1e30f, -12.5f, 12.5f}, {0, -0.0f, 1e-30f, -1e-30f}};
  std::vector<Words4> codes(1);
  float scale = -1;
  const QuantiseRowsLaunch launch{Element::f32, x.data(), codes.data(), &scale, 1, 8, 1};
  Machine machine;
  machine.readable(x.data(), 32), machine.writable(codes.data(), 8), machine.writable(&scale, 4);
  ASSERT_EQ(machine.run({}, 64, kRowSharedBytes, [&](EmulatedThread& thread) { QuantiseRows<Element::f32, 64, 1, EmulatedThread>{thread, launch}.run(); }), "");
  EXPECT_FLOAT_EQ(scale, 1e30f / 448);
  EXPECT_EQ(codes[0].x, 0x0000007eu | 0x80u << 8 | 0x80u << 16) << "448, then zeros of either sign";
  EXPECT_EQ(codes[0].y & 0x7f7f7f7fu, 0u);
}

TEST(RowKernelsEmulated, AMissingSyncIsSeen) {
  LTXV_NEEDS_FIBERS();
  std::vector<Words4> x(512), weight(512);
  QkNormRopeLaunch launch{Element::bf16, 1, {x.data()}, {weight.data()}};
  launch.row_stride = launch.width = 2048, launch.rows = launch.tokens = 1;
  bool seen = false;
  for (uint32_t seed = 1; seed <= 8 && !seen; ++seed) {
    Machine machine(seed);
    machine.writable(x.data(), 4096), machine.readable(weight.data(), 4096);
    machine.dropped_sync = 0;
    seen = !machine.run({}, 256, kRowSharedBytes, [&](EmulatedThread& thread) {
      QkNormRope<Element::bf16, 256, 1, EmulatedThread>{thread, launch}.run();
    }).empty();
  }
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace ltxv
