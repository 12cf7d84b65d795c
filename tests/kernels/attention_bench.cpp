// Times attention's first variant on this CPU beside LibTorch's flash attention, in turn, and prints a table in the form of docs/kernels.md.
//
//   cmake --build build --target attention_bench && build/bin/attention_bench [THREADS [ROUNDS]]
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "attention/attention.h"

namespace {

struct Case {
  int64_t queries, keys, width;
};
constexpr int64_t kHeads = 32;
constexpr Case kCases[] = {{640, 640, 64}, {2048, 2048, 64}, {2048, 128, 64}, {6144, 6144, 64}, {2048, 2048, 128}};

double seconds(const std::function<at::Tensor()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  const at::Tensor result = work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const c10::InferenceMode inference;
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
  std::printf("| queries x keys, width of a head | ratio: median (smallest to largest of %d) | own | LibTorch |\n|---|---|---|---|\n", rounds);
  for (const Case& c : kCases) {
    const auto draw = [&](int64_t length) { return at::randn({1, length, kHeads * c.width}, generator, at::TensorOptions()).to(at::kBFloat16); };
    const auto q = draw(c.queries), k = draw(c.keys), v = draw(c.keys);
    const auto own = [&] { return ltxv::ops::attention(q, k, v, kHeads); };
    const auto heads = [&](const at::Tensor& x) { return x.view({1, x.size(1), kHeads, c.width}).transpose(1, 2); };
    const auto libtorch = [&] { return at::scaled_dot_product_attention(heads(q), heads(k), heads(v)).transpose(1, 2).flatten(2); };
    own(), libtorch();
    std::vector<double> first, second, ratios;
    for (int i = 0; i < rounds; ++i) {
      second.push_back(seconds(libtorch));
      first.push_back(seconds(own));
      ratios.push_back(second.back() / first.back());
    }
    const auto rate = [&](double time) { return 4e-9 * static_cast<double>(kHeads * c.queries * c.keys * c.width) / time; };
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    std::printf("| %ld x %ld, %ld | **%.2f** (%.2f to %.2f) | %.1f ms, %.0f GFLOP/s | %.1f ms, %.0f GFLOP/s |\n", c.queries, c.keys, c.width, median(ratios),
                *least, *most, median(first) * 1e3, rate(median(first)), median(second) * 1e3, rate(median(second)));
  }
}
