#pragma once
#include <functional>
#include <string>
#include <vector>

#include "launchers.h"

namespace ltxv::gpu_check {

/// Times by CUDA events, median of 10 after 3 to warm up, smallest and largest beside it; a line of JSON each. What is compared runs in
/// turn. `only`: attention, rows, forward, quantised, ranks, or empty for all. False when something could not be measured.
bool bench(const ops::gpu::CudaKernelTable& table, const std::string& only);

using Work = std::function<void()>;
struct Named {
  std::string name;
  Work work;
};
/// The first names what the others are compared with. `flops` and `bytes` of one call, 0 where they say nothing.
bool compare(const std::string& bench, const std::vector<Named>& all, double flops, double bytes);

/// Products and predictions in eight bits beside those in bf16, and how far they are from them; benches_quant.cpp.
bool quantised_benches();
/// Predictions that several devices share; benches_ranks.cpp.
bool ranks_benches();

}  // namespace ltxv::gpu_check
