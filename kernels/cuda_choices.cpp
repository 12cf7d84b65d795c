#include "cuda_choices.h"

#include <algorithm>

#include "cuda_plugin.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

// What the op's variant table has behind the CUDA kernels.
std::string fallback_of(const std::string& op) { return op == "attention" ? "sdpa" : op == "gated_norm_modulate" || op == "norm_quantise" ? "parts" : "reference"; }

}  // namespace

std::vector<CudaChoice> cuda_choices(const gpu::CudaKernelTable& table, int32_t arch) {
  std::vector<CudaChoice> choices;
  for (int32_t i = 0; i < table.kernel_count; ++i) {
    const gpu::CudaKernelInfo& kernel = table.kernels[i];
    auto at = std::find_if(choices.begin(), choices.end(), [&](const CudaChoice& c) { return c.op == kernel.op; });
    if (at == choices.end()) {
      const auto pin = pinned_variant(kernel.op);
      choices.push_back({kernel.op, pin ? std::string(*pin) : fallback_of(kernel.op), pin ? "pinned by LTXV_KERNELS" : ""});
      at = choices.end() - 1;
    }
    const bool pinned = at->why == "pinned by LTXV_KERNELS", chosen = at->variant == kernel.variant;
    if (pinned || chosen) continue;
    const bool has_code = std::any_of(table.kernels, table.kernels + table.kernel_count, [&](const gpu::CudaKernelInfo& k) {
      return at->op == k.op && std::string_view(k.variant) == kernel.variant && k.arch == arch;
    });
    const bool verified = is_verified(table, kernel.op, kernel.variant, arch);
    const std::string remark = text(kernel.variant, verified ? ": verified on sm_" : has_code ? ": not verified on sm_" : ": no code for sm_", arch);
    if (at->why.find(remark) != std::string::npos) continue;  // rows of other architectures say the same
    if (verified && at->variant == fallback_of(at->op)) at->variant = kernel.variant;
    at->why += text(at->why.empty() ? "" : "; ", remark);
  }
  return choices;
}

}  // namespace ltxv::ops
