#pragma once
// How an op picks one of its implementations. Every op has a table of variants in preference order; the first that accepts the
// arguments runs, and the last one, "reference", is plain ATen and accepts everything. Setting LTXV_KERNELS="op=variant,op=variant"
// pins a choice: the one place where the library reads the environment, once.
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/tensor.h"

namespace ltxv::ops {

/// What the host CPU can do, found once.
struct CpuFeatures {
  bool avx2 = false;    ///< AVX2 and FMA
  bool avx512 = false;  ///< AVX-512 F, BW, DQ, VL
  bool vnni = false;    ///< AVX512-VNNI: sums of four products of bytes in 32 bits
  bool bf16 = false;    ///< AVX512-BF16 or AMX-BF16: bf16 products at least as fast as f32
  bool amx_bf16 = false;  ///< AMX-BF16 and AVX512-BF16, compiled in and allowed by the system
};
const CpuFeatures& cpu_features();

/// Whether arithmetic on this tensor is better done in f32 and rounded: bf16 in host memory, and a CPU without instructions for it.
/// LibTorch then computes element by element, at a fifth of the f32 rate or less.
bool is_slow_bf16(const at::Tensor& x);

/// The variant pinned for `op`, or nullopt. Errors: InvalidArgument when LTXV_KERNELS is malformed or names an unknown op.
std::optional<std::string_view> pinned_variant(std::string_view op);

template <class Args, class Result>
struct Variant {
  std::string_view name;
  bool (*accepts)(const Args&);
  Result (*run)(const Args&);
};

/// Runs the pinned or first accepting variant. Errors: InvalidArgument when the pinned name is unknown or refuses the arguments.
template <class Args, class Result, size_t kCount>
Result dispatch(std::string_view op, const Variant<Args, Result> (&table)[kCount], const Args& args) {
  if (const auto pin = pinned_variant(op)) {
    for (const auto& variant : table) {
      if (variant.name != *pin) continue;
      LTXV_CHECK(variant.accepts(args), "LTXV_KERNELS pins ", op, "=", *pin, ", which cannot run these arguments");
      return variant.run(args);
    }
    std::string known;
    for (const auto& variant : table) known += text(known.empty() ? "" : ", ", variant.name);
    throw InvalidArgument(text("LTXV_KERNELS: ", op, " has no variant \"", *pin, "\" (known: ", known, ")"));
  }
  for (const auto& variant : table)
    if (variant.accepts(args)) return variant.run(args);
  throw InternalError(text("no variant of ", op, " accepts the arguments"));
}

/// Every op with its variants on this machine's CPU, preferred first; the first of each is what a CPU run uses. CUDA variants are in
/// the plug-in's list (launchers.h, CudaKernelInfo).
struct OpInfo {
  std::string_view op;
  std::vector<std::string_view> variants;
};
std::vector<OpInfo> all_ops();

}  // namespace ltxv::ops
