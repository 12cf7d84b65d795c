#include "gpu/benches.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "attention/attention.h"
#include "attention_int8/layout.h"
#include "base/error.h"
#include "base/transfer.h"
#include "gpu/case_values.h"
#include "gpu/eager_twin.h"
#include "gpu/kernel_cases.h"
#include "gpu/made_source.h"
#include "pipeline/prediction_graphs.h"
#include "transformer/transformer.h"

namespace ltxv::gpu_check {
namespace {

c10::Stream stream() {
  const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
  return guard.getStream(guard.getDevice());
}

double milliseconds(const Work& work) {
  c10::Event begin(c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT), end(c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT);
  begin.record(stream());
  work();
  end.record(stream());
  end.synchronize();
  return begin.elapsedTime(end);
}

bool skipped(const std::string& bench, const std::string& name, const std::string& why) {
  std::cout << text("{\"event\":\"bench\",\"bench\":\"", bench, "\",\"name\":\"", name, "\",\"skipped\":\"", why, "\"}\n") << std::flush;
  return false;
}

}  // namespace

bool compare(const std::string& bench, const std::vector<Named>& all, double flops, double bytes) {
  constexpr int kWarm = 3, kTimed = 10;
  std::vector<std::vector<double>> times(all.size());
  bool good = true;
  std::vector<bool> runs(all.size(), true);
  for (int i = 0; i < kWarm + kTimed; ++i)
    for (size_t k = 0; k < all.size(); ++k) {
      if (!runs[k]) continue;
      try {
        const double ms = milliseconds(all[k].work);
        if (i >= kWarm) times[k].push_back(ms);
      } catch (const std::exception& e) {
        const std::string what = e.what();
        std::string line = what.substr(0, std::min<size_t>(what.find('\n'), 200));
        std::replace(line.begin(), line.end(), '"', '\'');
        good = skipped(bench, all[k].name, line), runs[k] = false;
      }
    }
  for (size_t k = 0; k < all.size(); ++k) {
    if (!runs[k]) continue;
    std::sort(times[k].begin(), times[k].end());
    const double median = (times[k][kTimed / 2 - 1] + times[k][kTimed / 2]) / 2;
    std::cout << text("{\"event\":\"bench\",\"bench\":\"", bench, "\",\"name\":\"", all[k].name, "\",\"median_ms\":", median, ",\"min_ms\":",
                      times[k].front(), ",\"max_ms\":", times[k].back(), ",\"tflops\":", flops / median * 1e-9, ",\"gb_per_s\":",
                      bytes / median * 1e-6, "}\n")
              << std::flush;
  }
  return good;
}

namespace {

// One of LibTorch's attentions alone.
Work sdpa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool cudnn) {
  return [=] {
    auto& context = at::globalContext();
    const bool was_flash = context.userEnabledFlashSDP(), was_cudnn = context.userEnabledCuDNNSDP(), was_math = context.userEnabledMathSDP(),
               was_memory = context.userEnabledMemEfficientSDP();
    context.setSDPUseFlash(!cudnn), context.setSDPUseCuDNN(cudnn), context.setSDPUseMath(false), context.setSDPUseMemEfficient(false);
    const auto restore = [&] {
      context.setSDPUseFlash(was_flash), context.setSDPUseCuDNN(was_cudnn), context.setSDPUseMath(was_math), context.setSDPUseMemEfficient(was_memory);
    };
    try {
      at::scaled_dot_product_attention(q, k, v);
    } catch (...) {
      restore();
      throw;
    }
    restore();
  };
}

bool attention_benches(const CudaKernelTable& table) {
  bool good = true;
  for (const int64_t width : {64, 128})
    for (const auto& [batch, n] : {std::pair<int64_t, int64_t>{2, 640}, {2, 6144}, {1, 13376}}) {
      const int64_t heads = 32, d = heads * width;
      const auto packed = draw({batch, n, 3 * d}, at::kBFloat16);
      const auto parts = packed.chunk(3, -1);
      const auto split = [&](const at::Tensor& t) { return t.unflatten(-1, {heads, width}).transpose(1, 2); };
      const at::Tensor q = split(parts[0]), k = split(parts[1]), v = split(parts[2]), out = at::empty({batch, n, d}, packed.options());
      const ops::gpu::AttentionLaunch launch{parts[0].const_data_ptr(), parts[1].const_data_ptr(), parts[2].const_data_ptr(), out.mutable_data_ptr(),
                                             static_cast<int32_t>(batch), static_cast<int32_t>(heads), static_cast<int32_t>(width),
                                             static_cast<int32_t>(n), static_cast<int32_t>(n), n * 3 * d, 3 * d, n * 3 * d, 3 * d, n * 3 * d, 3 * d,
                                             n * d, d, nullptr, static_cast<float>(1 / std::sqrt(static_cast<double>(width))), launch_stream()};
      const auto own = [&](int (*launcher)(const ops::gpu::AttentionLaunch*)) -> Work {
        return [&launch, launcher] { LTXV_REQUIRE(DeviceError, launcher(&launch) == 0, "the launch failed"); };
      };
      std::vector<Named> all{{"sdpa_cudnn", sdpa(q, k, v, true)}, {"sdpa_flash", sdpa(q, k, v, false)}};
      if (table.attention_mma) all.push_back({"cuda_mma", own(table.attention_mma)});
      if (table.attention_wgmma) all.push_back({"cuda_wgmma", own(table.attention_wgmma)});
      const auto workspace = at::empty({ops::gpu::int8_workspace(batch * heads, width, n, n).bytes}, packed.options().dtype(at::kByte));
      const ops::gpu::AttentionInt8Launch int8{launch, workspace.mutable_data_ptr(), launch.stream};
      if (table.attention_int8)  // with making the codes
        all.push_back({"int8_cuda_mma", [&] { LTXV_REQUIRE(DeviceError, table.attention_int8(&int8) == 0, "the launch failed"); }});
      if (table.attention_int8_wgmma && width == 128)
        all.push_back({"int8_cuda_wgmma", [&] { LTXV_REQUIRE(DeviceError, table.attention_int8_wgmma(&int8) == 0, "the launch failed"); }});
      const double dn = static_cast<double>(n);
      good = compare(text("attention_", batch, "x", heads, "x", width, "_", n), all, 4.0 * static_cast<double>(batch * d) * dn * dn, 0) && good;
    }
  return good;
}

// Bandwidths beside that of a plain copy, and the fused GELU beside the product and ATen's GELU.
bool row_benches(const CudaKernelTable& table) {
  const auto big = at::empty({int64_t{1} << 29}, at::TensorOptions().device(at::kCUDA).dtype(at::kByte)), to = at::empty_like(big);
  bool good = compare("copy_512MiB", {{"copy", [&] { to.copy_(big); }}}, 0, 2.0 * static_cast<double>(big.numel()));
  for (const char* op : {"qk_norm_rope", "gated_norm_modulate", "rms_norm_modulate", "norm_quantise", "quantise_rows", "vae_norm", "depth_to_space", "conv3d", "guided_step"}) {
    const auto cases = cases_of(table, op, "cuda", Sizes::usual);
    for (const char* size : {"bf16_2x6144x2048_turned", "bf16_2x6144x2048_separable", "bf16_2x6144x2048", "bf16_2x6144x2048_update", "bf16_2x6144x8192_gelu", "bf16_1x128x9x128x192_modulated", "bf16_256_222_residual1_24", "bf16_743424x256_residual", "bf16_6144_guidance2_star"}) {
      const auto at = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == size; });
      if (at == cases.end()) continue;
      double bytes = 0;
      for (const at::Tensor& out : at->outputs) bytes += 2.0 * static_cast<double>(out.nbytes());  // read and written, or read beside it
      good = compare(text(op, "_", size), {{"cuda", [&] { LTXV_REQUIRE(DeviceError, at->launch() == 0, "the launch failed"); }}}, 0, bytes) && good;
    }
  }
  const auto x = draw({12288, 2048}, at::kBFloat16), weight = draw({8192, 2048}, at::kBFloat16) * 0.02, bias = draw({8192}, at::kBFloat16);
  const auto fused = [&] { return at::_addmm_activation(bias, x, weight.t(), 1, 1, /*use_gelu=*/true); };
  good = compare("linear_gelu_12288x2048x8192",
                 {{"linear_then_gelu", [&] { at::gelu(at::linear(x, weight, bias), "tanh"); }}, {"fused", [&] { fused(); }}},
                 2.0 * 12288 * 2048 * 8192, 0) && good;
  // Which GELU it is: the one with erf differs from the tanh approximation by up to 5e-4.
  const auto exact = at::gelu(at::linear(x.narrow(0, 0, 256).to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble)), "tanh");
  const auto f32 = at::_addmm_activation(bias.to(at::kFloat), x.narrow(0, 0, 256).to(at::kFloat), weight.to(at::kFloat).t(), 1, 1, true);
  const double error = (f32.to(at::kDouble) - exact).abs().max().item<double>();
  std::cout << text("{\"event\":\"check\",\"op\":\"linear_gelu\",\"variant\":\"aten\",\"case\":\"f32_is_tanh\",\"good\":", error < 1e-4 ? "true" : "false",
                    ",\"error\":", error, ",\"tolerance\":0.0001,\"note\":\"\"}\n");
  return error < 1e-4 && good;
}

bool forward_bench(const char* name, const TransformerConfig& config, int64_t tokens, int64_t passes) {
  const int64_t d = config.width(), text_tokens = 128;
  const auto x = draw({1, tokens, config.in_channels}, at::kFloat), embeds = draw({1, text_tokens, config.caption_channels}, at::kFloat);
  double flops = static_cast<double>(config.layer_count * passes) * static_cast<double>(tokens) *
                 (28.0 * static_cast<double>(d * d) + 4.0 * static_cast<double>(tokens * d));
  std::vector<Named> all;
  const EagerTwin twin(config, at::kBFloat16);
  const auto positions = headline_positions(tokens);
  const auto wide = [&](const at::Tensor& t) { return t.repeat_interleave(2, -1).unsqueeze(0); };

  Parameters parameters(std::make_shared<MadeTransformer>(config), {}, at::kBFloat16, "transformer");
  parameters.send_to(resident_place(at::Device(at::kCUDA, 0)));
  const Transformer own(config, parameters);
  const auto rope = own.rope_table(positions);
  const auto prompt = own.prepare_prompt(to_host(embeds), at::ones({1, text_tokens}, at::kLong));
  const auto levels = own.noise_levels(at::full({1}, 0.7f, at::kFloat));
  const std::vector<const PromptContext*> prompts(static_cast<size_t>(passes), &prompt);
  const StepInputs in{.tokens = x, .levels = levels, .rope = rope, .prompts = prompts};
  const RunContext run;

  const auto full = make_rope_table(positions, config);
  const auto cos = wide(full.cos.to(at::kCUDA)), sin = wide(full.sin.to(at::kCUDA)), sigma = at::full({passes}, 0.7f, x.options());
  const auto rows = x.to(at::kBFloat16).expand({passes, -1, -1}).contiguous(), text_rows = embeds.to(at::kBFloat16).expand({passes, -1, -1}).contiguous();
  all.push_back({"eager_aten_twin", [&] { twin.forward(rows, text_rows, sigma, cos, sin); }});
  all.push_back({"libltxv", [&] { own.forward(in, run); }});
  PredictionGraphs graphs;
  const auto lease = graphs.lease();
  all.push_back({"libltxv_graph", [&] { graphs.forward(own, lease, in, run); }});
  const bool good = compare(text("forward_", name, "_", tokens, "_passes", passes), all, flops, 0);
  const auto eager = own.forward(in, run), replayed = graphs.forward(own, lease, in, run);
  const double error = ((replayed - eager).norm() / eager.norm()).item<double>();
  std::cout << text("{\"event\":\"check\",\"op\":\"forward\",\"variant\":\"graph\",\"case\":\"", name, "_", tokens, "\",\"good\":", error <= 1e-3 ? "true" : "false",
                    ",\"error\":", std::isfinite(error) ? error : -1, ",\"tolerance\":0.001,\"note\":\"a replayed prediction against a computed one\"}\n");
  return good && error <= 1e-3;
}

bool forward_benches() {
  const TransformerConfig small;
  TransformerConfig large;
  large.head_width = 128, large.layer_count = 48;
  bool good = true;
  for (const auto& [tokens, passes] : {std::pair<int64_t, int64_t>{640, 1}, {640, 2}, {6144, 1}, {6144, 2}, {13376, 1}}) {
    good = forward_bench("2b", small, tokens, passes) && good;
    release_cached_memory(at::Device(at::kCUDA, 0));
  }
  const auto memory = at::getDeviceAllocator(at::kCUDA)->getMemoryInfo(0);
  if (memory.first < (size_t{60} << 30)) return skipped("forward_13b_6144_passes1", "all", "less than 60 GiB free") && good;
  return forward_bench("13b", large, 6144, 1) && good;
}

}  // namespace

bool bench(const CudaKernelTable& table, const std::string& only) {
  bool good = true;
  if (only.empty() || only == "attention") good = attention_benches(table) && good;
  if (only.empty() || only == "rows") good = row_benches(table) && good;
  if (only.empty() || only == "forward") good = forward_benches() && good;
  if (only.empty() || only == "quantised") good = quantised_benches() && good;
  if (only.empty() || only == "ranks") good = ranks_benches() && good;
  return good;
}

}  // namespace ltxv::gpu_check
