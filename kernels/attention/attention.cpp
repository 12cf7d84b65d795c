#include "attention/attention.h"

#include <cmath>

#include "cuda_plugin.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  const at::Tensor &q, &k, &v;
  int64_t head_count;
};

// [B,N,D] -> [B,A,N,E]
at::Tensor heads(const at::Tensor& x, int64_t head_count) {
  return x.view({x.size(0), x.size(1), head_count, x.size(2) / head_count}).transpose(1, 2);
}

at::Tensor merge(const at::Tensor& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)}); }

at::Tensor reference(const Args& a) {
  const auto q = heads(a.q, a.head_count), k = heads(a.k, a.head_count), v = heads(a.v, a.head_count);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  // f32 softmax whatever the dtype: a row of bf16 exponentials does not sum to one.
  const auto p = at::softmax(at::matmul(q, k.transpose(-1, -2)).to(at::kFloat) * scale, -1).to(v.scalar_type());
  return merge(at::matmul(p, v));
}

at::Tensor sdpa(const Args& a) {
  const bool widen = is_slow_bf16(a.q);
  const auto split = [&](const at::Tensor& x) { return heads(widen ? x.to(at::kFloat) : x, a.head_count); };
  return merge(at::scaled_dot_product_attention(split(a.q), split(a.k), split(a.v))).to(a.q.scalar_type());
}

bool always(const Args&) { return true; }

// What launchers.h asks for; `launcher` is nullptr where the plug-in lacks that kernel.
using Launcher = int (*gpu::CudaKernelTable::*)(const gpu::AttentionLaunch*);

bool fits_cuda(const Args& a, std::string_view variant, Launcher launcher) {
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second and third dimension
  const int64_t width = a.q.size(2) / a.head_count;
  if (!a.q.is_cuda() || a.q.scalar_type() != at::kBFloat16 || (width != 64 && width != 128)) return false;
  if (a.q.numel() == 0 || a.q.size(0) > kMostBlocks || a.head_count > kMostBlocks) return false;
  if (a.q.size(1) > INT32_MAX || a.k.size(1) > INT32_MAX) return false;
  for (const auto* x : {&a.q, &a.k, &a.v})
    if (x->device() != a.q.device() || x->stride(2) != 1 || x->stride(1) % 8 || x->stride(0) % 8 || !is_aligned(*x)) return false;
  return cuda_variant_allowed("attention", variant, a.q.device()) && cuda_plugin().table->*launcher;
}

at::Tensor run_cuda(const Args& a, Launcher launcher) {
  at::Tensor out = at::empty({a.q.size(0), a.q.size(1), a.q.size(2)}, a.q.options());
  const auto i32 = [](int64_t n) { return static_cast<int32_t>(n); };
  const int64_t width = a.q.size(2) / a.head_count;
  launch_on<gpu::AttentionLaunch>(a.q, "attention", cuda_plugin().table->*launcher,
                                  {.q = a.q.const_data_ptr(), .k = a.k.const_data_ptr(), .v = a.v.const_data_ptr(),
                                   .out = out.mutable_data_ptr(), .batch = i32(a.q.size(0)), .heads = i32(a.head_count),
                                   .head_dim = i32(width), .q_length = i32(a.q.size(1)), .k_length = i32(a.k.size(1)),
                                   .q_batch_stride = a.q.stride(0), .q_row_stride = a.q.stride(1),
                                   .k_batch_stride = a.k.stride(0), .k_row_stride = a.k.stride(1),
                                   .v_batch_stride = a.v.stride(0), .v_row_stride = a.v.stride(1),
                                   .out_batch_stride = out.stride(0), .out_row_stride = out.stride(1),
                                   .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(width)))});
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
  LTXV_CHECK(q.dim() == 3 && k.dim() == 3 && v.sizes() == k.sizes() && q.size(0) == k.size(0) && q.size(2) == k.size(2),
             "attention: q [B,N,D], k and v [B,M,D] expected, got ", q.sizes(), ", ", k.sizes(), ", ", v.sizes());
  LTXV_CHECK(head_count > 0 && q.size(2) % head_count == 0, "attention: ", head_count, " heads do not divide width ", q.size(2));
  LTXV_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(), "attention: dtypes differ");
  const Args args{q, k, v, head_count};
  return dispatch<Args, at::Tensor>("attention", kVariants, args);
}

}  // namespace ltxv::ops
