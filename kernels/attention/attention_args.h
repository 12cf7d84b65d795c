#pragma once
// What the attention ops share: their arguments, and how those become a launch.
#include <cmath>

#include "base/error.h"
#include "base/tensor.h"
#include "cuda_plugin.h"

namespace ltxv::ops {

struct AttentionArgs {
  const at::Tensor &q, &k, &v;
  int64_t head_count;
  int64_t width() const { return q.size(2) / head_count; }
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(width())); }
};

/// Errors: InvalidArgument, as ops::attention.
inline void check_attention(const char* op, const AttentionArgs& a) {
  const auto& [q, k, v, head_count] = a;
  LTXV_CHECK(q.dim() == 3 && k.dim() == 3 && v.sizes() == k.sizes() && q.size(0) == k.size(0) && q.size(2) == k.size(2),
             op, ": q [B,N,D], k and v [B,M,D] expected, got ", q.sizes(), ", ", k.sizes(), ", ", v.sizes());
  LTXV_CHECK(head_count > 0 && q.size(2) % head_count == 0, op, ": ", head_count, " heads do not divide width ", q.size(2));
  LTXV_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(), op, ": dtypes differ");
}

/// [B,N,D] -> [B,A,N,E]
inline at::Tensor split_heads(const at::Tensor& x, int64_t head_count) {
  return x.view({x.size(0), x.size(1), head_count, x.size(2) / head_count}).transpose(1, 2);
}
/// [B,A,N,E] -> [B,N,D]
inline at::Tensor merge_heads(const at::Tensor& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)}); }

/// What AttentionLaunch asks for of sizes, dtype and layout; not the head width. Lengths at most `most_rows`.
inline bool fits_attention_launch(const AttentionArgs& a, int64_t most_rows) {
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second and third dimension
  if (!a.q.is_cuda() || a.q.scalar_type() != at::kBFloat16) return false;
  if (a.q.numel() == 0 || a.q.size(0) > kMostBlocks || a.head_count > kMostBlocks) return false;
  if (a.q.size(1) > most_rows || a.k.size(1) > most_rows) return false;
  for (const auto* x : {&a.q, &a.k, &a.v})
    if (x->device() != a.q.device() || x->stride(2) != 1 || x->stride(1) % 8 || x->stride(0) % 8 || !is_aligned(*x)) return false;
  return true;
}

/// `out` [B,N,D]; the stream is left to launch_on.
inline gpu::AttentionLaunch attention_launch(const AttentionArgs& a, at::Tensor& out) {
  const auto i32 = [](int64_t n) { return static_cast<int32_t>(n); };
  return {.q = a.q.const_data_ptr(), .k = a.k.const_data_ptr(), .v = a.v.const_data_ptr(), .out = out.mutable_data_ptr(),
          .batch = i32(a.q.size(0)), .heads = i32(a.head_count), .head_dim = i32(a.width()), .q_length = i32(a.q.size(1)),
          .k_length = i32(a.k.size(1)), .q_batch_stride = a.q.stride(0), .q_row_stride = a.q.stride(1), .k_batch_stride = a.k.stride(0),
          .k_row_stride = a.k.stride(1), .v_batch_stride = a.v.stride(0), .v_row_stride = a.v.stride(1),
          .out_batch_stride = out.stride(0), .out_row_stride = out.stride(1), .scale = static_cast<float>(a.scale())};
}

}  // namespace ltxv::ops
