#include "qk_norm_rope/qk_norm_rope.h"

#include <ATen/Parallel.h>

#include "cpu_rows.h"
#include "cuda_plugin.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  at::Tensor& x;
  const at::Tensor &weight, &cos, &sin;
  double eps;
};

bool reference(const Args& a) {
  auto y = a.x.to(at::kFloat);
  y = y * at::rsqrt(y.pow(2).mean(-1, /*keepdim=*/true) + a.eps) * a.weight.to(at::kFloat);
  if (a.cos.defined()) {
    const auto pairs = y.unflatten(-1, {-1, 2});  // [B,N,D] -> [B,N,D/2,2]
    const auto even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
    y = at::stack({even * a.cos - odd * a.sin, odd * a.cos + even * a.sin}, -1).flatten(-2);
  }
  a.x.copy_(y);
  return true;
}

template <void (*kRun)(const cpu::NormRopeRow&, int64_t, int64_t)>
bool rows(const Args& a) {
  const int64_t width = a.x.size(2);
  const cpu::NormRopeRow args{a.x.scalar_type() == at::kFloat ? cpu::RowType::f32 : cpu::RowType::bf16,
                              a.x.mutable_data_ptr(), a.weight.const_data_ptr(),
                              a.cos.defined() ? a.cos.const_data_ptr<float>() : nullptr,
                              a.sin.defined() ? a.sin.const_data_ptr<float>() : nullptr, a.x.size(1), width,
                              static_cast<float>(a.eps)};
  at::parallel_for(0, a.x.size(0) * a.x.size(1), std::max<int64_t>(1, 32768 / width),
                   [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return true;
}

bool fits(const Args& a) {
  return a.x.is_cpu() && a.x.is_contiguous() && (a.x.scalar_type() == at::kFloat || a.x.scalar_type() == at::kBFloat16) &&
         a.weight.scalar_type() == a.x.scalar_type() && a.weight.is_contiguous();
}
bool fits_avx512(const Args& a) { return cpu_features().avx512 && fits(a); }
bool fits_avx2(const Args& a) { return cpu_features().avx2 && fits(a); }
bool always(const Args&) { return true; }

// Rows may lie apart, as the columns of a packed [B,N,3D] do.
bool fits_cuda(const Args& a) {
  const int64_t width = a.x.size(2);
  if (!is_cuda_float(a.x) || width % 8 || width > 8192 || a.x.numel() == 0 || a.x.size(0) * a.x.size(1) > INT32_MAX) return false;
  if (a.x.stride(2) != 1 || a.x.stride(1) % 8 || (a.x.size(0) > 1 && a.x.stride(0) != a.x.size(1) * a.x.stride(1))) return false;
  if (a.weight.scalar_type() != a.x.scalar_type() || !a.weight.is_contiguous() || !is_aligned(a.x) || !is_aligned(a.weight)) return false;
  for (const auto* table : {&a.weight, &a.cos, &a.sin})
    if (table->defined() && (table->device() != a.x.device() || !is_aligned(*table))) return false;
  return cuda_variant_allowed("qk_norm_rope", "cuda", a.x) && cuda_plugin().table->qk_norm_rope;
}

bool cuda(const Args& a) {
  launch_on<gpu::QkNormRopeLaunch>(a.x, "qk_norm_rope", cuda_plugin().table->qk_norm_rope,
                                   {.type = cuda_element(a.x), .count = 1, .x = {a.x.mutable_data_ptr()},
                                    .weight = {a.weight.const_data_ptr()}, .row_stride = a.x.stride(1),
                                    .rows = static_cast<int32_t>(a.x.size(0) * a.x.size(1)),
                                    .tokens = static_cast<int32_t>(a.x.size(1)), .width = static_cast<int32_t>(a.x.size(2)),
                                    .cos = a.cos.defined() ? a.cos.const_data_ptr<float>() : nullptr,
                                    .sin = a.sin.defined() ? a.sin.const_data_ptr<float>() : nullptr,
                                    .eps = static_cast<float>(a.eps)});
  return true;
}

constexpr Variant<Args, bool> kVariants[] = {{"cuda", fits_cuda, cuda},
                                             {"avx512", fits_avx512, rows<cpu::avx512::norm_rope>},
                                             {"avx2", fits_avx2, rows<cpu::avx2::norm_rope>},
                                             {"reference", always, reference}};

}  // namespace

void qk_norm_rope_(at::Tensor& x, const at::Tensor& weight, const at::Tensor& cos, const at::Tensor& sin, double eps) {
  LTXV_CHECK(x.dim() == 3 && weight.dim() == 1 && weight.size(0) == x.size(2),
             "qk_norm_rope: x [B,N,D] and weight [D] expected, got ", x.sizes(), " and ", weight.sizes());
  LTXV_CHECK(cos.defined() == sin.defined(), "qk_norm_rope: cos and sin come together");
  for (const auto* table : {&cos, &sin})
    LTXV_CHECK(!table->defined() || (table->dim() == 2 && table->size(0) == x.size(1) && table->size(1) * 2 == x.size(2) &&
                                     table->is_contiguous() && table->scalar_type() == at::kFloat),
               "qk_norm_rope: tables f32 [", x.size(1), ",", x.size(2) / 2, "] expected, got ", table->sizes());
  const Args args{x, weight, cos, sin, eps};
  dispatch<Args, bool>("qk_norm_rope", kVariants, args);
}

}  // namespace ltxv::ops
