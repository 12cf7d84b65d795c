#include "attention/attention.h"

#include <ATen/Parallel.h>

#include "attention/attention_amx.h"
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

bool fits_amx(const Args& a) {
  if (!a.q.is_cpu() || a.q.scalar_type() != at::kBFloat16 || a.width() % 32 || a.width() > 128 || a.q.numel() == 0 || a.k.numel() == 0) return false;
  for (const auto* x : {&a.q, &a.k, &a.v})
    if (x->stride(2) != 1) return false;
  return cpu_features().amx_bf16;
}

at::Tensor amx(const Args& a) {
  at::Tensor out = at::empty({a.q.size(0), a.q.size(1), a.q.size(2)}, a.q.options());
  const auto codes = [](const at::Tensor& x) { return static_cast<const uint16_t*>(x.const_data_ptr()); };
  cpu::AmxAttentionArgs args{.q = codes(a.q), .k = codes(a.k), .v = codes(a.v), .out = static_cast<uint16_t*>(out.mutable_data_ptr()),
                             .batch = a.q.size(0), .heads = a.head_count, .width = a.width(), .q_length = a.q.size(1), .k_length = a.k.size(1),
                             .q_batch_stride = a.q.stride(0), .q_row_stride = a.q.stride(1), .k_batch_stride = a.k.stride(0),
                             .k_row_stride = a.k.stride(1), .v_batch_stride = a.v.stride(0), .v_row_stride = a.v.stride(1),
                             .out_batch_stride = out.stride(0), .out_row_stride = out.stride(1), .scale = static_cast<float>(a.scale()),
                             .packed = nullptr};
  at::Tensor packed = at::empty({cpu::amx_attention_packed_elements(args)}, a.q.options());  // LibTorch aligns to 64 bytes
  args.packed = static_cast<uint16_t*>(packed.mutable_data_ptr());
  at::parallel_for(0, args.batch * args.heads * cpu::amx_attention_key_blocks(args), 8,
                   [&](int64_t begin, int64_t end) { cpu::amx_attention_pack(args, begin, end); });
  at::parallel_for(0, cpu::amx_attention_units(args), 1, [&](int64_t begin, int64_t end) { cpu::amx_attention(args, begin, end); });
  return out;
}

constexpr Variant<Args, at::Tensor> kVariants[] = {{"cuda_wgmma", fits_wgmma, wgmma},
                                                   {"cuda_mma", fits_mma, mma},
                                                   {"amx", fits_amx, amx},
                                                   {"sdpa", always, sdpa},
                                                   {"reference", always, reference}};

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t head_count) {
  const Args args{q, k, v, head_count};
  check_attention("attention", args);
  return dispatch<Args, at::Tensor>("attention", kVariants, args);
}

}  // namespace ltxv::ops
