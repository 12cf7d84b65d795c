#include "api/description.h"

#include <ATen/Parallel.h>

#include <cstdio>

#include "base/tensor.h"
#include "ltxv/ltxv.h"
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
  return text("{\"avx2\":", word(cpu.avx2), ",\"avx512\":", word(cpu.avx512), ",\"bf16\":", word(cpu.bf16), "}");
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
  return text("{\"name\":\"ltxv\",\"version\":", json_string(LTXV_VERSION), ",\"abi_version\":", LTXV_ABI_VERSION,
              ",\"compiler\":", json_string(LTXV_COMPILER), ",\"build_type\":", json_string(LTXV_BUILD_TYPE),
              ",\"libtorch\":", json_string(LTXV_TORCH_VERSION), ",\"libavcodec\":", json_string(LTXV_AVCODEC_VERSION),
              ",\"sentencepiece\":", json_string(LTXV_SENTENCEPIECE_VERSION),
              ",\"cpu_capability\":", json_string(at::get_cpu_capability()), ",\"threads\":", at::get_num_threads(),
              ",\"devices\":[\"cpu\"],\"kernels\":", kernels, ",\"cpu\":", cpu_json(),
              ",\"kernel_choices\":", choices, "}");
}

}  // namespace ltxv::api
