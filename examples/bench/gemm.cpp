#include "gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "measure.h"

namespace bench {

double gemm_flops_per_second(int64_t size, int threads) {
  const c10::InferenceMode inference;
  if (threads > 0) at::set_num_threads(threads);
  const auto a = at::rand({size, size}).to(at::kBFloat16), b = at::rand({size, size}).to(at::kBFloat16);
  auto c = at::mm(a, b);
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    Stopwatch watch;
    at::mm_out(c, a, b);
    best = std::min(best, watch.lap());
  }
  const auto n = static_cast<double>(size);
  return 2 * n * n * n / best;
}

double forward_flops(const std::string& model, int64_t tokens, int64_t text_tokens) {
  std::ifstream file(model + "/transformer/config.json");
  if (!file) return 0;
  const auto config = nlohmann::json::parse(file);
  const double width = config.at("num_attention_heads").get<double>() * config.at("attention_head_dim").get<double>();
  const auto n = static_cast<double>(tokens);
  // A multiply-add counts 2. Self-attention 4 matrices, cross-attention's q and out 2, feed-forward 8: 14 width^2.
  const double linear = 28 * width * width, attention = 4 * width * (n + static_cast<double>(text_tokens));
  return n * (config.at("num_layers").get<double>() * (linear + attention) + 4 * config.at("in_channels").get<double>() * width);
}

}  // namespace bench
