#include <c10/core/CachingDeviceAllocator.h>

#include <cmath>
#include <iostream>

#include "attention_int8/attention_int8.h"
#include "base/error.h"
#include "base/transfer.h"
#include "gpu/benches.h"
#include "gpu/case_values.h"
#include "gpu/made_source.h"
#include "quant_linear/quant_linear.h"
#include "transformer/transformer.h"

namespace ltxv::gpu_check {
namespace {

using ops::QuantType;

bool check(const std::string& op, const std::string& name, double error, double tolerance) {
  const bool good = error <= tolerance;
  std::cout << text("{\"event\":\"check\",\"op\":\"", op, "\",\"variant\":\"fp8\",\"case\":\"", name, "\",\"good\":", good ? "true" : "false", ",\"error\":",
                    std::isfinite(error) ? error : -1, ",\"tolerance\":", tolerance, ",\"note\":\"relative L2 distance from bf16\"}\n")
            << std::flush;
  return good;
}

double distance(const at::Tensor& a, const at::Tensor& b) { return ((a.to(at::kFloat) - b.to(at::kFloat)).norm() / b.to(at::kFloat).norm()).item<double>(); }

// Of normal values a product in e4m3 is off by 2.6 % of each factor: 3.7 % together.
bool linear_benches() {
  bool good = true;
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{2048, 6144}, {2048, 2048}, {2048, 8192}, {8192, 2048}, {4096, 16384}, {16384, 4096}}) {
    const int64_t rows = 6144;
    const auto x = draw({rows, in}, at::kBFloat16), weight = draw({out, in}, at::kBFloat16) * 0.02, bias = draw({out}, at::kBFloat16);
    const auto w = ops::quantise_rows(weight, QuantType::fp8);
    const auto coded = ops::quantised_weight(w.codes, w.scales, QuantType::fp8);
    const auto codes = ops::quantise_rows(x, QuantType::fp8);
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in * out);
    const auto name = text("linear_", rows, "x", in, "x", out);
    good = compare(name, {{"bf16", [&] { at::linear(x, weight, bias); }},
                          {"fp8", [&] { ops::quant_linear(codes, coded, bias, at::kBFloat16); }},
                          {"fp8_with_codes", [&] { ops::quant_linear(ops::quantise_rows(x, QuantType::fp8), coded, bias, at::kBFloat16); }}},
                   flops, 0) && good;
    good = check("quant_linear", name, distance(ops::quant_linear(codes, coded, bias, at::kBFloat16), at::linear(x, weight, bias)), 0.05) && good;
  }
  return good;
}

bool forward_bench(const char* name, const TransformerConfig& config, int64_t tokens, int64_t passes) {
  const int64_t text_tokens = 128, d = config.width();
  const auto made = std::make_shared<MadeTransformer>(config);
  const auto open = [&](const BlockOptions& blocks) {
    Parameters parameters(made, {}, at::kBFloat16, "transformer");
    parameters.send_to(resident_place(at::Device(at::kCUDA, 0)));
    return std::make_unique<Transformer>(config, parameters, TransformerOptions{.blocks = blocks});
  };
  const bool attention = ops::has_int8_attention(at::Device(at::kCUDA, 0), config.head_width);
  const auto exact = open({}), fp8 = open({.quantisation = QuantType::fp8}), both = open({.quantisation = QuantType::fp8, .int8_attention = attention});
  const auto x = draw({1, tokens, config.in_channels}, at::kFloat), embeds = draw({1, text_tokens, config.caption_channels}, at::kFloat);
  const auto positions = headline_positions(tokens);
  const auto rope = exact->rope_table(positions);
  const auto levels = exact->noise_levels(at::full({1}, 0.7f, at::kFloat));
  const RunContext run;
  const auto forward = [&](const Transformer& t) {
    const auto prompt = std::make_shared<PromptContext>(t.prepare_prompt(to_host(embeds), at::ones({1, text_tokens}, at::kLong)));
    return [&, prompt] {
      const std::vector<const PromptContext*> prompts(static_cast<size_t>(passes), prompt.get());
      return t.forward({.tokens = x, .levels = levels, .rope = rope, .prompts = prompts}, run);
    };
  };
  const auto a = forward(*exact), b = forward(*fp8), c = forward(*both);
  const double flops = static_cast<double>(config.layer_count * passes) * static_cast<double>(tokens) *
                       (28.0 * static_cast<double>(d * d) + 4.0 * static_cast<double>(tokens * d));
  const auto label = text("forward_eight_bits_", name, "_", tokens, "_passes", passes);
  std::vector<Named> all{{"libltxv", [&] { a(); }}, {"libltxv_fp8", [&] { b(); }}};
  if (attention) all.push_back({"libltxv_fp8_attention_int8", [&] { c(); }});
  bool good = compare(label, all, flops, 0);
  const auto expected = a();
  good = check("forward", label, distance(b(), expected), 0.1) && good;
  return (!attention || check("forward", label + "_attention_int8", distance(c(), expected), 0.1)) && good;
}

}  // namespace

bool quantised_benches() {
  bool good = linear_benches();
  const TransformerConfig small;
  TransformerConfig large;
  large.head_width = 128, large.layer_count = 48;
  for (const auto& [tokens, passes] : {std::pair<int64_t, int64_t>{6144, 1}, {6144, 2}}) {
    good = forward_bench("2b", small, tokens, passes) && good;
    release_cached_memory(at::Device(at::kCUDA, 0));
  }
  const auto memory = at::getDeviceAllocator(at::kCUDA)->getMemoryInfo(0);
  if (memory.first < (size_t{65} << 30)) return good;
  return forward_bench("13b", large, 6144, 1) && good;
}

}  // namespace ltxv::gpu_check
