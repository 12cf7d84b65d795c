#include "api/description.h"

#include <ATen/Parallel.h>

#include <cstdio>

#include "base/tensor.h"
#include "cuda_choices.h"
#include "cuda_plugin.h"
#include "cuda_services.h"
#include "ltxv/ltxv.h"
#include "pipeline/cuda_probe.h"
#include "registry.h"

namespace ltxv::api {
namespace {

std::string kernels_json() {
  std::string json = "{";
  for (const ops::OpInfo& info : ops::all_ops()) {
    // A pin that names an unknown variant shows up when the op runs; a description must not fail.
    const auto pinned = ops::pinned_variant(info.op);
    const std::string_view chosen = pinned ? *pinned : info.variants.empty() ? "none" : info.variants.front();
    json += (json.size() > 1 ? "," : "") + json_string(std::string(info.op)) + ":" + json_string(std::string(chosen));
  }
  return json + "}";
}

std::string list_json(const std::vector<std::string_view>& words) {
  std::string json = "[";
  for (const auto word : words) json += text(json.size() > 1 ? "," : "", json_string(std::string(word)));
  return json + "]";
}

// Beside what is chosen, why: a pin, or the first of the variants this processor can run.
std::string kernel_choices_json() {
  std::string json = "{";
  for (const ops::OpInfo& info : ops::all_ops()) {
    const auto pinned = ops::pinned_variant(info.op);
    const auto why = pinned ? text("pinned to ", *pinned, " by LTXV_KERNELS") : std::string("the first this machine can run");
    json += text(json.size() > 1 ? "," : "", json_string(std::string(info.op)), ":{\"why\":", json_string(why),
                 ",\"variants\":", list_json(info.variants), "}");
  }
  return json + "}";
}

std::string cpu_json() {
  const auto word = [](bool has) { return has ? "true" : "false"; };
  const ops::CpuFeatures& cpu = ops::cpu_features();
  return text("{\"avx2\":", word(cpu.avx2), ",\"avx512\":", word(cpu.avx512), ",\"vnni\":", word(cpu.vnni), ",\"bf16\":", word(cpu.bf16),
              ",\"amx_bf16\":", word(cpu.amx_bf16), "}");
}

// What the driver tells, and only where a device can be used also what the plug-in does: opening it loads LibTorch's CUDA part.
struct CudaReport {
  std::string devices = "[\"cpu\"", json;
};

CudaReport cuda_report() {
  CudaReport report;
  const CudaProbe probe = probe_cuda();
  std::string missing = probe.missing, devices, choices, versions;
  const auto* table = missing.empty() ? ops::cuda_plugin().table : nullptr;
  if (missing.empty() && table == nullptr) missing = ops::cuda_plugin().problem;
  if (missing.empty()) missing = ops::open_cuda_services();
  for (size_t i = 0; i < probe.devices.size(); ++i) {
    const CudaDevice& d = probe.devices[i];
    devices += text(i ? "," : "", "{\"name\":", json_string(d.name), ",\"capability\":\"", d.major, ".", d.minor,
                    "\",\"memory_bytes\":", d.memory_bytes, "}");
    if (missing.empty()) report.devices += text(",\"cuda:", i, "\"");
  }
  if (missing.empty()) {
    versions = ops::cuda_services()->versions();
    const CudaDevice& first = probe.devices.front();
    for (const ops::CudaChoice& c : ops::cuda_choices(*table, first.major * 10 + first.minor))
      choices += text(choices.empty() ? "" : ",", json_string(c.op), ":{\"variant\":", json_string(c.variant), ",\"why\":",
                      json_string(c.why), "}");
  }
  report.devices += "]";
  report.json = text("{\"missing\":", json_string(missing), ",\"plugin\":", json_string(probe.plugin), ",\"versions\":",
                     json_string(versions), ",\"devices\":[", devices, "],\"kernel_choices\":{", choices, "}}");
  return report;
}

}  // namespace

std::string json_string(const std::string& value) {
  std::string json = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      json += code;
    } else {
      json += c;
    }
  }
  return json + '"';
}

std::string describe_build() {
  std::string kernels, choices;
  try {
    kernels = kernels_json();
    choices = kernel_choices_json();
  } catch (const Error& e) {
    kernels = choices = json_string(e.what());
  }
  const CudaReport cuda = cuda_report();
  return text("{\"name\":\"ltxv\",\"version\":", json_string(LTXV_VERSION), ",\"abi_version\":", LTXV_ABI_VERSION,
              ",\"compiler\":", json_string(LTXV_COMPILER), ",\"build_type\":", json_string(LTXV_BUILD_TYPE),
              ",\"libtorch\":", json_string(LTXV_TORCH_VERSION), ",\"libavcodec\":", json_string(LTXV_AVCODEC_VERSION),
              ",\"sentencepiece\":", json_string(LTXV_SENTENCEPIECE_VERSION),
              ",\"cpu_capability\":", json_string(at::get_cpu_capability()), ",\"threads\":", at::get_num_threads(),
              ",\"devices\":", cuda.devices, ",\"cuda\":", cuda.json, ",\"kernels\":", kernels, ",\"cpu\":", cpu_json(),
              ",\"kernel_choices\":", choices, "}");
}

}  // namespace ltxv::api
