#include "registry.h"

#if defined(LTXV_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <map>

#include "op_names.h"

namespace ltxv::ops {
namespace {

// Whether this processor has AMX for bf16 and the system lets this process use its tiles, which has to be asked for.
bool may_use_amx_bf16() {
#if defined(LTXV_AMX)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx >> 22 & 1) || !(edx >> 24 & 1)) return false;  // AMX-BF16, AMX-TILE
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  CpuFeatures f;
#if defined(__x86_64__)
  __builtin_cpu_init();
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  f.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  f.vnni = f.avx512 && __builtin_cpu_supports("avx512vnni");
  f.bf16 = f.avx512 && __builtin_cpu_supports("avx512bf16");
  f.amx_bf16 = f.bf16 && may_use_amx_bf16();
#endif
  return f;
}

std::map<std::string, std::string, std::less<>> parse_pins(const char* value) {
  std::map<std::string, std::string, std::less<>> pins;
  std::string_view rest = value ? value : "";
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    if (item.empty()) continue;
    const auto equals = item.find('=');
    LTXV_CHECK(equals != std::string_view::npos, "LTXV_KERNELS: \"", item, "\" is not op=variant");
    const std::string op(item.substr(0, equals));
    std::string known;
    bool found = false;
    for (const auto name : kOpNames) {
      found |= name == op;
      known += text(known.empty() ? "" : ", ", name);
    }
    LTXV_CHECK(found, "LTXV_KERNELS: there is no op \"", op, "\" (known: ", known, ")");
    pins[op] = std::string(item.substr(equals + 1));
  }
  return pins;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

bool is_slow_bf16(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kBFloat16 && !cpu_features().bf16; }

std::optional<std::string_view> pinned_variant(std::string_view op) {
  static const auto pins = parse_pins(std::getenv("LTXV_KERNELS"));
  const auto it = pins.find(op);
  if (it == pins.end()) return std::nullopt;
  return std::string_view(it->second);
}

std::vector<OpInfo> all_ops() {
  std::vector<OpInfo> ops;
  for (const auto op : kOpNames) {
    OpInfo info{op, {}};
    const bool vectors = op != "attention" && op != "quant_linear" && op != "attention_int8";
    if (vectors && cpu_features().avx512) info.variants.push_back("avx512");
    if (vectors && cpu_features().avx2) info.variants.push_back("avx2");
    if (op == "attention" && cpu_features().amx_bf16) info.variants.push_back("amx");
    if (op == "attention") info.variants.push_back("sdpa");
    if (op == "quant_linear" && cpu_features().vnni) info.variants.push_back("onednn");
    if (op == "gated_norm_modulate") info.variants.push_back("parts");
    info.variants.push_back("reference");
    ops.push_back(std::move(info));
  }
  return ops;
}

}  // namespace ltxv::ops
