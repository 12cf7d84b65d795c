#include "cuda_plugin.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <vector>

#include "cuda_plugin_file.h"
#include "registry.h"

namespace ltxv::ops {
namespace {
CudaPlugin open_plugin() {
  const CudaPluginFile& file = open_cuda_plugin_file();
  if (file.library == nullptr) return {nullptr, file.problem};
  const auto get = reinterpret_cast<decltype(&ltxv_cuda_plugin)>(dlsym(file.library, "ltxv_cuda_plugin"));
  const auto* table = get ? get(gpu::kCudaPluginVersion) : nullptr;
  if (table == nullptr || table->struct_size < sizeof(gpu::CudaKernelTable))
    return {nullptr, text(file.path, " is of another version of the library, ", gpu::kCudaPluginVersion, " expected")};
  return {table, ""};
}

// Compute capabilities by device index, major * 10 + minor; 0 where the driver does not answer.
std::vector<int32_t> capabilities() {
  const auto* table = cuda_plugin().table;
  int count = 0;
  if (table->device_count(&count) != 0) return {};
  std::vector<int32_t> found;
  for (int i = 0; i < count; ++i) {
    gpu::CudaDevice device{};
    found.push_back(table->device(i, &device) == 0 ? device.major * 10 + device.minor : 0);
  }
  return found;
}

}  // namespace

const CudaPlugin& cuda_plugin() {
  static const CudaPlugin plugin = open_plugin();
  return plugin;
}

bool is_verified(const gpu::CudaKernelTable& table, std::string_view op, std::string_view variant, int32_t arch) {
  for (int32_t i = 0; i < table.kernel_count; ++i) {
    const auto& kernel = table.kernels[i];
    // Only the exact architecture: what a driver compiles from PTX, or runs of an older one, has no record.
    if (kernel.op == op && kernel.variant == variant && kernel.arch == arch) return kernel.verified != 0;
  }
  return false;
}

bool cuda_variant_allowed(std::string_view op, std::string_view variant, at::Device device) {
  const auto* table = cuda_plugin().table;
  if (table == nullptr) return false;
  return pinned_variant(op) == variant || is_verified(*table, op, variant, cuda_arch(device));
}

int32_t cuda_arch(at::Device device) {
  if (cuda_plugin().table == nullptr) return 0;
  static const std::vector<int32_t> archs = capabilities();
  const auto index = static_cast<size_t>(device.index());
  return index < archs.size() ? archs[index] : 0;
}

bool is_cuda_float(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}
bool is_aligned(const at::Tensor& x) { return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0; }
gpu::Element cuda_element(const at::Tensor& x) { return x.scalar_type() == at::kFloat ? gpu::Element::f32 : gpu::Element::bf16; }
at::Tensor cuda_volume(const at::Tensor& x, int64_t b, int64_t c, int64_t t, int64_t h, int64_t w) {
  return at::empty({b, t, h, w, c}, x.options()).permute({0, 4, 1, 2, 3});
}

void* cuda_stream(const at::Tensor& x) {
  return c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()).native_handle();
}

void check_launch(std::string_view op, int error) {
  if (error == 0) return;
  const auto* table = cuda_plugin().table;
  throw DeviceError(text(op, ": CUDA refused the launch: ", table ? table->error_text(error) : "", " (", error, ")"));
}

}  // namespace ltxv::ops
