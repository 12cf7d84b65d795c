#pragma once
// A problem for the eight-bit attention, with its codes made by the emulated kernels, and what the result should be in f64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention_int8/attention_body.h"
#include "attention_int8/quantise.h"
#include "kernels/emulator/emulated_thread.h"

namespace ltxv::test::int8 {

using namespace ops::gpu;

/// Sizes of a problem.
struct Case {
  int32_t batch, heads, queries, keys;
  bool packed = false;       // q, k and v as column ranges of one matrix
  double key_offset = 0;     // what all keys share, channel by channel
};

struct Matrix {
  std::vector<Words4> storage;
  int64_t width;
  Matrix(int64_t rows, int64_t width) : storage(static_cast<size_t>(rows * width / 8)), width(width) {}
  uint16_t* data() { return reinterpret_cast<uint16_t*>(storage.data()); }
  size_t bytes() const { return storage.size() * 16; }
};

using Rows = std::vector<std::vector<double>>;

template <class Shape>
struct Problem {
  static constexpr int32_t kHeadDim = Shape::kHeadDim;
  Case c;
  Matrix q, k, v, out;
  std::vector<Words4> workspace;
  AttentionInt8Launch launch{};
  Int8Workspace at{};

  Problem(const Case& which, uint32_t seed)
      : c(which), q(which.batch * which.queries, width() * (which.packed ? 3 : 1)), k(which.packed ? 0 : which.batch * which.keys, width()),
        v(which.packed ? 0 : which.batch * which.keys, width()), out(which.batch * which.queries, width()) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (auto* m : {&q, &k, &v})
      for (size_t i = 0; i < m->bytes() / 2; ++i) m->data()[i] = static_cast<uint16_t>(bf16_bits(normal(random)));
    std::fill_n(out.data(), out.bytes() / 2, uint16_t{0xffff});
    AttentionLaunch& a = launch.attention;
    a = {q.data(), k.data(), v.data(), out.data(), c.batch, c.heads, kHeadDim, c.queries, c.keys};
    a.q_row_stride = q.width, a.k_row_stride = k.width, a.v_row_stride = v.width;
    if (c.packed) {
      a.k = q.data() + width(), a.v = q.data() + 2 * width();
      a.k_row_stride = a.v_row_stride = q.width;
    }
    a.q_batch_stride = c.queries * a.q_row_stride;
    a.k_batch_stride = c.keys * a.k_row_stride, a.v_batch_stride = c.keys * a.v_row_stride;
    a.out_row_stride = out.width, a.out_batch_stride = c.queries * out.width;
    a.scale = 1 / std::sqrt(static_cast<float>(kHeadDim));
    auto* keys = const_cast<uint16_t*>(static_cast<const uint16_t*>(a.k));
    for (int32_t b = 0; b < c.batch; ++b)
      for (int32_t m = 0; m < c.keys; ++m)
        for (int32_t i = 0; i < width(); ++i) {
          uint16_t& element = keys[b * a.k_batch_stride + m * a.k_row_stride + i];
          element = static_cast<uint16_t>(bf16_bits(bf16_low(element) + static_cast<float>(c.key_offset * (i % 5 - 2))));
        }
    at = int8_workspace(static_cast<int64_t>(c.batch) * c.heads, kHeadDim, c.queries, c.keys);
    workspace.assign(static_cast<size_t>(at.bytes / 16), {0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff});
    launch.workspace = workspace.data();
  }
  int64_t width() const { return static_cast<int64_t>(c.heads) * kHeadDim; }

  struct Dropped {
    int32_t launch = 2, sync = -1, wait = -1;
  };
  char* base() { return reinterpret_cast<char*>(workspace.data()); }

  // The first two launches. What stands between two is written by one and read by the next.
  std::string make_codes(uint32_t seed, const Dropped& dropped = {}) {
    Machine first(seed), second(seed);
    for (Machine* m : {&first, &second})
      for (auto* from : {&q, &k, &v})
        if (from->bytes() > 0) m->readable(from->data(), from->bytes());
    first.writable(base() + at.parts, static_cast<size_t>(at.q - at.parts));
    second.readable(base() + at.parts, static_cast<size_t>(at.q - at.parts));
    second.writable(base() + at.q, static_cast<size_t>(at.bytes - at.q));
    if (dropped.launch < 2) (dropped.launch == 0 ? first : second).dropped_sync = dropped.sync;
    using Parts = Int8Parts<kHeadDim, EmulatedThread>;
    using Quantise = Int8Quantise<kHeadDim, EmulatedThread>;
    const std::string found = first.run({kInt8Parts, c.heads, c.batch}, kInt8QuantiseThreads, Parts::kSharedBytes,
                                        [&](EmulatedThread& thread) { Parts{thread, launch, at}.run(); });
    if (!found.empty()) return found;
    const auto blocks = static_cast<int32_t>(std::max(at.query_rows, at.key_rows) / kInt8KeyTile);
    return second.run({blocks, c.heads, c.batch}, kInt8QuantiseThreads, Quantise::kSharedBytes, [&](EmulatedThread& thread) { Quantise{thread, launch, at}.run(); });
  }

  std::string run(uint32_t seed, const Dropped& dropped = {}, Counts* counts = nullptr) {
    if (const auto found = make_codes(seed, dropped); !found.empty()) return found;
    Machine third(seed);
    third.writable(out.data(), out.bytes());
    third.readable(base() + at.q, static_cast<size_t>(at.bytes - at.q));
    if (dropped.launch == 2) third.dropped_sync = dropped.sync, third.dropped_wait = dropped.wait;
    const auto found = third.run({static_cast<int32_t>(at.query_rows / Shape::kBlockM), c.heads, c.batch}, Shape::kThreads, Shape::kSharedBytes,
                                 [&](EmulatedThread& thread) { AttentionInt8<Shape, EmulatedThread>{thread, launch, at}.run(); });
    if (counts) *counts = third.counts;
    return found;
  }

  Rows head(const void* from, int64_t batch_stride, int64_t row_stride, int32_t b, int32_t h, int32_t count) const {
    Rows rows(static_cast<size_t>(count), std::vector<double>(kHeadDim));
    for (int32_t n = 0; n < count; ++n)
      for (int32_t i = 0; i < kHeadDim; ++i)
        rows[static_cast<size_t>(n)][static_cast<size_t>(i)] = bf16_low(static_cast<const uint16_t*>(from)[b * batch_stride + n * row_stride + h * kHeadDim + i]);
    return rows;
  }
};

inline double nearest_e4m3(double v) {
  const double magnitude = std::abs(v), step = magnitude < std::ldexp(1, -6) ? std::ldexp(1, -9) : std::ldexp(1, static_cast<int>(std::floor(std::log2(magnitude))) - 3);
  return std::copysign(std::nearbyint(magnitude / step) * step, v);
}

// The quantisation of attention_int8.h in f64.
inline void quantise_rows(Rows& rows, size_t rows_a_scale) {
  for (size_t begin = 0; begin < rows.size(); begin += rows_a_scale) {
    double largest = 1e-12;
    const size_t end = std::min(rows.size(), begin + rows_a_scale);
    for (size_t n = begin; n < end; ++n)
      for (const double x : rows[n]) largest = std::max(largest, std::abs(x));
    for (size_t n = begin; n < end; ++n)
      for (double& x : rows[n]) x = std::nearbyint(x * 127 / largest) * largest / 127;
  }
}
inline void smooth(Rows& keys) {
  for (size_t i = 0; i < keys[0].size(); ++i) {
    double mean = 0;
    for (const auto& row : keys) mean += row[i] / static_cast<double>(keys.size());
    for (auto& row : keys) row[i] -= mean;
  }
}
inline void quantise_values(Rows& values) {
  for (size_t i = 0; i < values[0].size(); ++i) {
    double largest = 1e-12;
    for (const auto& row : values) largest = std::max(largest, std::abs(row[i]));
    for (auto& row : values) row[i] = nearest_e4m3(row[i] * 448 / largest) * largest / 448;
  }
}

struct Errors {
  double beyond = 0;  // the worst element against the formula, in what rounding the weights may cost
  double relative = 0;  // of all elements, against exact attention
};

template <class Shape>
Errors errors_of(Problem<Shape>& problem) {
  const Case& c = problem.c;
  const AttentionLaunch& a = problem.launch.attention;
  Errors errors;
  double off = 0, all = 0;
  for (int32_t b = 0; b < c.batch; ++b)
    for (int32_t h = 0; h < c.heads; ++h) {
      const Rows q = problem.head(a.q, a.q_batch_stride, a.q_row_stride, b, h, c.queries), k = problem.head(a.k, a.k_batch_stride, a.k_row_stride, b, h, c.keys),
                 v = problem.head(a.v, a.v_batch_stride, a.v_row_stride, b, h, c.keys);
      Rows qc = q, kc = k, vc = v;
      quantise_rows(qc, 1), smooth(kc), quantise_rows(kc, kInt8KeyTile), quantise_values(vc);
      const auto weights = [&](const Rows& queries, const Rows& keys, size_t n) {
        std::vector<double> p(keys.size());
        double largest = -1e300, sum = 0;
        for (size_t m = 0; m < keys.size(); ++m) {
          for (size_t i = 0; i < Shape::kHeadDim; ++i) p[m] += queries[n][i] * keys[m][i];
          largest = std::max(largest, p[m] /= std::sqrt(static_cast<double>(Shape::kHeadDim)));
        }
        for (double& x : p) sum += x = std::exp(x - largest);
        for (double& x : p) x /= sum;
        return p;
      };
      for (size_t n = 0; n < q.size(); ++n) {
        const auto exact = weights(q, k, n), coded = weights(qc, kc, n);
        for (size_t i = 0; i < Shape::kHeadDim; ++i) {
          double expected = 0, formula = 0, absolute = 0, widest = 0;
          for (size_t m = 0; m < k.size(); ++m) {
            expected += exact[m] * v[m][i], formula += coded[m] * vc[m][i], absolute += coded[m] * std::abs(vc[m][i]);
            widest = std::max(widest, std::abs(vc[m][i]));
          }
          const double got = bf16_low(problem.out.data()[(b * c.queries + static_cast<int64_t>(n)) * problem.out.width + h * Shape::kHeadDim + static_cast<int64_t>(i)]);
          // e4m3 rounds a weight by 1/16 of it, or by 2^-18 of the largest; a code of q, k or v in the middle of two may be the other one:
          // a few thousandths; bf16 by 2^-8.
          const double allowed = absolute / 16 + static_cast<double>(k.size()) * widest * std::ldexp(1, -18) + std::abs(formula) / 256 + 0.01 * absolute + 1e-6;
          errors.beyond = std::isnan(got) ? std::numeric_limits<double>::infinity() : std::max(errors.beyond, std::abs(got - formula) / allowed);
          off += (got - expected) * (got - expected), all += expected * expected;
        }
      }
    }
  errors.relative = std::sqrt(off / all);
  return errors;
}

}  // namespace ltxv::test::int8
