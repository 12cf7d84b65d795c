#include "qk_norm_rope/qk_norm_rope.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <span>

#include "cpu_rows.h"
#include "cuda_plugin.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

// Queries, keys or both: rows that share positions.
struct Side {
  at::Tensor& x;
  const at::Tensor& weight;
};
struct Args {
  std::span<const Side> sides;
  const at::Tensor &cos, &sin;
  double eps;
};

bool reference(const Args& a) {
  for (const auto& [x, weight] : a.sides) {
    auto y = x.to(at::kFloat);
    y = y * at::rsqrt(y.pow(2).mean(-1, /*keepdim=*/true) + a.eps) * weight.to(at::kFloat);
    if (a.cos.defined()) {
      const auto pairs = y.unflatten(-1, {-1, 2});  // [B,N,D] -> [B,N,D/2,2]
      const auto even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
      y = at::stack({even * a.cos - odd * a.sin, odd * a.cos + even * a.sin}, -1).flatten(-2);
    }
    x.copy_(y);
  }
  return true;
}

template <void (*kRun)(const cpu::NormRopeRow&, int64_t, int64_t)>
bool rows(const Args& a) {
  for (const auto& [x, weight] : a.sides) {
    const int64_t width = x.size(2);
    const cpu::NormRopeRow args{x.scalar_type() == at::kFloat ? cpu::RowType::f32 : cpu::RowType::bf16,
                                x.mutable_data_ptr(), weight.const_data_ptr(),
                                a.cos.defined() ? a.cos.const_data_ptr<float>() : nullptr,
                                a.sin.defined() ? a.sin.const_data_ptr<float>() : nullptr, x.size(1), width,
                                static_cast<float>(a.eps)};
    at::parallel_for(0, x.size(0) * x.size(1), std::max<int64_t>(1, 32768 / width),
                     [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  }
  return true;
}

bool fits_side(const Side& s) {
  return s.x.is_cpu() && s.x.is_contiguous() && (s.x.scalar_type() == at::kFloat || s.x.scalar_type() == at::kBFloat16) &&
         s.weight.scalar_type() == s.x.scalar_type() && s.weight.is_contiguous();
}
bool fits(const Args& a) { return std::all_of(a.sides.begin(), a.sides.end(), fits_side); }
bool fits_avx512(const Args& a) { return cpu_features().avx512 && fits(a); }
bool fits_avx2(const Args& a) { return cpu_features().avx2 && fits(a); }
bool always(const Args&) { return true; }

// Rows may lie apart, as the columns of a packed [B,N,3D] do; both sides alike.
bool fits_cuda_side(const Side& s, const Side& first) {
  const auto& [x, weight] = s;
  if (x.sizes() != first.x.sizes() || x.strides() != first.x.strides() || x.scalar_type() != first.x.scalar_type()) return false;
  return weight.scalar_type() == x.scalar_type() && weight.device() == x.device() && weight.is_contiguous() && is_aligned(x) && is_aligned(weight);
}

bool fits_cuda(const Args& a) {
  const at::Tensor& x = a.sides[0].x;
  const int64_t width = x.size(2);
  if (!is_cuda_float(x) || width % 8 || width > 8192 || x.numel() == 0 || x.size(0) * x.size(1) > INT32_MAX) return false;
  if (x.stride(2) != 1 || x.stride(1) % 8 || (x.size(0) > 1 && x.stride(0) != x.size(1) * x.stride(1))) return false;
  for (const Side& side : a.sides)
    if (!fits_cuda_side(side, a.sides[0])) return false;
  for (const auto* table : {&a.cos, &a.sin})
    if (table->defined() && (table->device() != x.device() || !is_aligned(*table))) return false;
  return cuda_variant_allowed("qk_norm_rope", "cuda", x) && cuda_plugin().table->qk_norm_rope;
}

bool cuda(const Args& a) {
  const at::Tensor& x = a.sides[0].x;
  gpu::QkNormRopeLaunch launch{.type = cuda_element(x), .count = static_cast<int32_t>(a.sides.size()), .row_stride = x.stride(1),
                               .rows = static_cast<int32_t>(x.size(0) * x.size(1)), .tokens = static_cast<int32_t>(x.size(1)),
                               .width = static_cast<int32_t>(x.size(2)), .cos = a.cos.defined() ? a.cos.const_data_ptr<float>() : nullptr,
                               .sin = a.sin.defined() ? a.sin.const_data_ptr<float>() : nullptr, .eps = static_cast<float>(a.eps)};
  for (size_t i = 0; i < a.sides.size(); ++i) launch.x[i] = a.sides[i].x.mutable_data_ptr(), launch.weight[i] = a.sides[i].weight.const_data_ptr();
  launch_on<gpu::QkNormRopeLaunch>(x, "qk_norm_rope", cuda_plugin().table->qk_norm_rope, launch);
  return true;
}

constexpr Variant<Args, bool> kVariants[] = {{"cuda", fits_cuda, cuda},
                                             {"avx512", fits_avx512, rows<cpu::avx512::norm_rope>},
                                             {"avx2", fits_avx2, rows<cpu::avx2::norm_rope>},
                                             {"reference", always, reference}};

void check_and_run(std::span<const Side> sides, const at::Tensor& cos, const at::Tensor& sin, double eps) {
  for (const auto& [x, weight] : sides)
    LTXV_CHECK(x.dim() == 3 && weight.dim() == 1 && weight.size(0) == x.size(2),
               "qk_norm_rope: x [B,N,D] and weight [D] expected, got ", x.sizes(), " and ", weight.sizes());
  LTXV_CHECK(cos.defined() == sin.defined(), "qk_norm_rope: cos and sin come together");
  for (const auto& [x, weight] : sides)
    for (const auto* table : {&cos, &sin})
      LTXV_CHECK(!table->defined() || (table->dim() == 2 && table->size(0) == x.size(1) && table->size(1) * 2 == x.size(2) &&
                                       table->is_contiguous() && table->scalar_type() == at::kFloat),
                 "qk_norm_rope: tables f32 [", x.size(1), ",", x.size(2) / 2, "] expected, got ", table->sizes());
  const Args args{sides, cos, sin, eps};
  dispatch<Args, bool>("qk_norm_rope", kVariants, args);
}

}  // namespace

void qk_norm_rope_(at::Tensor& x, const at::Tensor& weight, const at::Tensor& cos, const at::Tensor& sin, double eps) {
  const Side sides[] = {{x, weight}};
  check_and_run(sides, cos, sin, eps);
}

void qk_norm_rope_(at::Tensor& q, const at::Tensor& q_weight, at::Tensor& k, const at::Tensor& k_weight, const at::Tensor& cos,
                   const at::Tensor& sin, double eps) {
  const Side sides[] = {{q, q_weight}, {k, k_weight}};
  check_and_run(sides, cos, sin, eps);
}

}  // namespace ltxv::ops
