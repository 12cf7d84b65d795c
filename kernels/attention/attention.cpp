#include "attention/attention.h"

#include "attention/attention_args.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

using Args = AttentionArgs;

at::Tensor reference(const Args& a) {
  const auto q = split_heads(a.q, a.head_count), k = split_heads(a.k, a.head_count), v = split_heads(a.v, a.head_count);
  // f32 softmax whatever the dtype: a row of bf16 exponentials does not sum to one.
  const auto p = at::softmax(at::matmul(q, k.transpose(-1, -2)).to(at::kFloat) * a.scale(), -1).to(v.scalar_type());
  return merge_heads(at::matmul(p, v));
}

at::Tensor sdpa(const Args& a) {
  const bool widen = is_slow_bf16(a.q);
  const auto split = [&](const at::Tensor& x) { return split_heads(widen ? x.to(at::kFloat) : x, a.head_count); };
  return merge_heads(at::scaled_dot_product_attention(split(a.q), split(a.k), split(a.v))).to(a.q.scalar_type());
}

bool always(const Args&) { return true; }

// What launchers.h asks for; `launcher` is nullptr where the plug-in lacks that kernel.
using Launcher = int (*gpu::CudaKernelTable::*)(const gpu::AttentionLaunch*);

bool fits_cuda(const Args& a, std::string_view variant, Launcher launcher) {
  if ((a.width() != 64 && a.width() != 128) || !fits_attention_launch(a, INT32_MAX)) return false;
  return cuda_variant_allowed("attention", variant, a.q.device()) && cuda_plugin().table->*launcher;
}

at::Tensor run_cuda(const Args& a, Launcher launcher) {
  at::Tensor out = at::empty({a.q.size(0), a.q.size(1), a.q.size(2)}, a.q.options());
  launch_on(a.q, "attention", cuda_plugin().table->*launcher, attention_launch(a, out));
  return out;
}

constexpr Launcher kMma = &gpu::CudaKernelTable::attention_mma, kWgmma = &gpu::CudaKernelTable::attention_wgmma;
bool fits_wgmma(const Args& a) { return fits_cuda(a, "cuda_wgmma", kWgmma) && cuda_arch(a.q.device()) == 90; }
at::Tensor wgmma(const Args& a) { return run_cuda(a, kWgmma); }
bool fits_mma(const Args& a) { return fits_cuda(a, "cuda_mma", kMma); }
at::Tensor mma(const Args& a) { return run_cuda(a, kMma); }

constexpr Variant<Args, at::Tensor> kVariants[] = {{"cuda_wgmma", fits_wgmma, wgmma},
                                                   {"cuda_mma", fits_mma, mma},
                                                   {"sdpa", always, sdpa},
                                                   {"reference", always, reference}};

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t head_count) {
  const Args args{q, k, v, head_count};
  check_attention("attention", args);
  return dispatch<Args, at::Tensor>("attention", kVariants, args);
}

}  // namespace ltxv::ops
