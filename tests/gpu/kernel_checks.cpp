// Checks the CUDA kernels on a GPU; without one it says so and exits with 77. One JSON object a line on stdout.
//   gpu_kernel_checks list                       device, versions, every kernel with its hash
//   gpu_kernel_checks check [OP [VARIANT]]       against f64, outputs poisoned; 20 launches bit for bit equal
//   gpu_kernel_checks small [OP [VARIANT]]       the same on small shapes, once: for compute-sanitizer
//   gpu_kernel_checks bench [NAME]               medians by CUDA events
//   --seed N                                     default: from the clock; it is printed
// Exit codes: 0 all passed, 1 something failed, 2 wrong usage, 77 nothing can run here.
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <iostream>
#include <set>

#include "base/error.h"
#include "cuda_plugin.h"
#include "cuda_services.h"
#include "gpu/benches.h"
#include "gpu/kernel_cases.h"
#include "pipeline/compute_device.h"
#include "pipeline/cuda_probe.h"

namespace ltxv::gpu_check {
namespace {

constexpr int kSkipped = 77;  // what ctest knows as skipped

struct Options {
  std::string task, op, variant;
  uint64_t seed = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
};

int32_t arch_of(const CudaKernelTable& table) {
  ops::gpu::CudaDevice device{};
  return table.device(0, &device) == 0 ? device.major * 10 + device.minor : 0;
}

void list(const CudaKernelTable& table, uint64_t seed) {
  ops::gpu::CudaDevice device{};
  table.device(0, &device);
  std::cout << text("{\"event\":\"device\",\"name\":\"", device.name, "\",\"arch\":", arch_of(table), ",\"memory_bytes\":", device.memory,
                    ",\"versions\":\"", ops::cuda_services()->versions(), "\",\"seed\":", seed, "}\n");
  for (int32_t i = 0; i < table.kernel_count; ++i) {
    const auto& k = table.kernels[i];
    std::cout << text("{\"event\":\"kernel\",\"op\":\"", k.op, "\",\"variant\":\"", k.variant, "\",\"arch\":", k.arch, ",\"hash\":\"", k.hash,
                      "\",\"verified\":", k.verified, "}\n");
  }
}

bool report(const Case& c, bool good, double error, const std::string& note) {
  std::cout << text("{\"event\":\"check\",\"op\":\"", c.op, "\",\"variant\":\"", c.variant, "\",\"case\":\"", c.name, "\",\"good\":",
                    good ? "true" : "false", ",\"error\":", std::isfinite(error) ? error : -1, ",\"tolerance\":", c.tolerance, ",\"note\":\"", note,
                    "\"}\n")
            << std::flush;
  return good;
}

bool run_case(const CudaKernelTable& table, const Case& c, int repeats) {
  const auto launch = [&] {
    c.reset();
    const int problem = c.launch();
    return problem == 0 ? std::string() : text("launch: ", table.error_text(problem));
  };
  if (const auto problem = launch(); !problem.empty()) return report(c, false, INFINITY, problem);
  std::vector<at::Tensor> first;
  for (const at::Tensor& out : c.outputs) first.push_back(out.clone());
  double worst = 0;
  const auto expected = c.expected();
  const auto values = c.values ? c.values(first) : first;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (values[i].sizes() != expected[i].sizes()) return report(c, false, INFINITY, "another shape");
    const auto actual = values[i].to(expected[i].options());
    if (!at::isfinite(actual).all().item<bool>()) return report(c, false, INFINITY, text("output ", i, " was not written everywhere"));
    const double norm = expected[i].norm().item<double>();
    worst = std::max(worst, (actual - expected[i]).norm().item<double>() / std::max(norm, 1e-30));
  }
  if (!(worst <= c.tolerance)) return report(c, false, worst, "");
  for (int r = 1; r < repeats; ++r) {
    if (const auto problem = launch(); !problem.empty()) return report(c, false, worst, problem);
    for (size_t i = 0; i < first.size(); ++i)
      if (!at::equal(c.outputs[i], first[i])) return report(c, false, worst, text("launch ", r + 1, " gave other bits"));
  }
  return report(c, true, worst, "");
}

bool check(const CudaKernelTable& table, const Options& o, Sizes sizes, int repeats) {
  bool good = true, any = false;
  std::set<std::string> done;
  for (int32_t i = 0; i < table.kernel_count; ++i) {
    const auto& k = table.kernels[i];
    if (k.arch != arch_of(table) || (!o.op.empty() && o.op != k.op) || (!o.variant.empty() && o.variant != k.variant)) continue;
    if (!done.insert(text(k.op, " ", k.variant)).second) continue;
    any = true;
    const auto cases = cases_of(table, k.op, k.variant, sizes);
    if (cases.empty()) good = report({.op = k.op, .variant = k.variant, .name = "none"}, false, INFINITY, "this program has no case for it") && good;
    for (const Case& c : cases) good = run_case(table, c, repeats) && good;
  }
  if (!any) std::cout << "{\"event\":\"note\",\"message\":\"no kernel has machine code for this device\"}\n";
  return good;
}

Options parse(int argc, char** argv) {
  Options o;
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      o.seed = std::stoull(argv[++i]);
    } else {
      words.push_back(argv[i]);
    }
  }
  if (!words.empty()) o.task = words[0];
  if (words.size() > 1) o.op = words[1];
  if (words.size() > 2) o.variant = words[2];
  return o;
}

}  // namespace

int run(int argc, char** argv) {
  const Options o = parse(argc, argv);
  if (o.task != "list" && o.task != "check" && o.task != "small" && o.task != "bench") {
    std::cerr << "gpu_kernel_checks list | check | small | bench [NAME...] [--seed N]\n";
    return 2;
  }
  const CudaProbe probe = probe_cuda();
  if (!probe.missing.empty()) {
    std::cout << "skipped: " << probe.missing << "\n";
    return kSkipped;
  }
  const ComputeDevice device = open_compute_device("cuda:0");  // what an engine does, the errors included
  const auto* table = ops::cuda_plugin().table;
  LTXV_REQUIRE(DeviceError, table != nullptr, ops::cuda_plugin().problem);
  const c10::InferenceMode inference;
  StreamPool streams(device.device);
  const OnDevice on_device(streams);
  at::manual_seed(o.seed);
  if (o.task == "list") return list(*table, o.seed), 0;
  if (o.task == "bench") return bench(*table, o.op) ? 0 : 1;
  return check(*table, o, o.task == "small" ? Sizes::small : Sizes::usual, o.task == "small" ? 1 : 20) ? 0 : 1;
}

}  // namespace ltxv::gpu_check

int main(int argc, char** argv) {
  try {
    return ltxv::gpu_check::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "gpu_kernel_checks: " << std::string(e.what()).substr(0, 500) << "\n";
    return 1;
  }
}
