#include "attention/attention.h"

#include <cmath>

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
  // Without bf16 instructions LibTorch multiplies bf16 element by element; widened, the products are vector code.
  const bool widen = a.q.is_cpu() && a.q.scalar_type() == at::kBFloat16 && !cpu_features().bf16;
  const auto split = [&](const at::Tensor& x) { return heads(widen ? x.to(at::kFloat) : x, a.head_count); };
  return merge(at::scaled_dot_product_attention(split(a.q), split(a.k), split(a.v))).to(a.q.scalar_type());
}

bool always(const Args&) { return true; }

constexpr Variant<Args, at::Tensor> kVariants[] = {{"sdpa", always, sdpa}, {"reference", always, reference}};

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
