#include "qk_norm_rope/qk_norm_rope.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <span>

#include "cpu_row_args.h"
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
  const RotaryTables& tables;
  double eps;
};

bool reference(const Args& a) {
  const auto& [cos, sin, rows] = a.tables.rows.defined() ? expanded(a.tables, a.sides[0].x.size(2)) : a.tables;
  for (const auto& [x, weight] : a.sides) {
    auto y = x.to(at::kFloat);
    y = y * at::rsqrt(y.pow(2).mean(-1, /*keepdim=*/true) + a.eps) * weight.to(at::kFloat);
    if (cos.defined()) {
      const auto pairs = y.unflatten(-1, {-1, 2});  // [B,N,D] -> [B,N,D/2,2]
      const auto even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
      y = at::stack({even * cos - odd * sin, odd * cos + even * sin}, -1).flatten(-2);
    }
    x.copy_(y);
  }
  return true;
}

const float* floats(const at::Tensor& table) { return table.defined() ? table.const_data_ptr<float>() : nullptr; }

template <void (*kRun)(const cpu::NormRopeRow&, int64_t, int64_t)>
bool rows(const Args& a) {
  for (const auto& [x, weight] : a.sides) {
    const int64_t width = x.size(2);
    const cpu::NormRopeRow args{cpu_row_type(x),
                                x.mutable_data_ptr(), weight.const_data_ptr(),
                                floats(a.tables.cos), floats(a.tables.sin), x.size(1), width,
                                static_cast<float>(a.eps)};
    at::parallel_for(0, x.size(0) * x.size(1), row_grain(width),
                     [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  }
  return true;
}

bool fits_side(const Side& s) {
  return fits_rows(s.x) &&
         s.weight.scalar_type() == s.x.scalar_type() && s.weight.is_contiguous();
}
bool fits(const Args& a) { return !a.tables.rows.defined() && std::all_of(a.sides.begin(), a.sides.end(), fits_side); }
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
  for (const auto* table : {&a.tables.cos, &a.tables.sin, &a.tables.rows})
    if (table->defined() && (table->device() != x.device() || !is_aligned(*table))) return false;
  return cuda_variant_allowed("qk_norm_rope", "cuda", x.device()) && cuda_plugin().table->qk_norm_rope;
}

bool cuda(const Args& a) {
  const at::Tensor& x = a.sides[0].x;
  gpu::QkNormRopeLaunch launch{.type = cuda_element(x), .count = static_cast<int32_t>(a.sides.size()), .row_stride = x.stride(1),
                               .rows = static_cast<int32_t>(x.size(0) * x.size(1)), .tokens = static_cast<int32_t>(x.size(1)),
                               .width = static_cast<int32_t>(x.size(2)), .cos = floats(a.tables.cos), .sin = floats(a.tables.sin),
                               .table_rows = a.tables.rows.defined() ? a.tables.rows.const_data_ptr<int32_t>() : nullptr,
                               .eps = static_cast<float>(a.eps)};
  for (size_t i = 0; i < a.sides.size(); ++i) launch.x[i] = a.sides[i].x.mutable_data_ptr(), launch.weight[i] = a.sides[i].weight.const_data_ptr();
  launch_on<gpu::QkNormRopeLaunch>(x, "qk_norm_rope", cuda_plugin().table->qk_norm_rope, launch);
  return true;
}

constexpr Variant<Args, bool> kVariants[] = {{"cuda", fits_cuda, cuda},
                                             {"avx512", fits_avx512, rows<cpu::avx512::norm_rope>},
                                             {"avx2", fits_avx2, rows<cpu::avx2::norm_rope>},
                                             {"reference", always, reference}};

void check_tables(const RotaryTables& t, int64_t tokens, int64_t width) {
  LTXV_CHECK(t.cos.defined() == t.sin.defined(), "qk_norm_rope: cos and sin come together");
  const bool separable = t.rows.defined();
  LTXV_CHECK(!separable || (t.cos.defined() && t.rows.dim() == 2 && t.rows.size(0) == tokens && t.rows.size(1) == 3 &&
                            t.rows.is_contiguous() && t.rows.scalar_type() == at::kInt),
             "qk_norm_rope: table rows i32 [", tokens, ",3] expected, got ", t.rows.sizes());
  const int64_t columns = separable ? width / 6 : width / 2;
  const std::string row_count = separable ? text('R') : text(tokens);
  for (const auto* table : {&t.cos, &t.sin})
    LTXV_CHECK(!table->defined() || (table->dim() == 2 && (separable || table->size(0) == tokens) && table->size(1) == columns &&
                                     table->sizes() == t.cos.sizes() && table->is_contiguous() && table->scalar_type() == at::kFloat),
               "qk_norm_rope: tables f32 [", row_count, ",", columns, "] expected, got ", table->sizes());
}

void check_and_run(std::span<const Side> sides, const RotaryTables& tables, double eps) {
  for (const auto& [x, weight] : sides) {
    LTXV_CHECK(x.dim() == 3 && weight.dim() == 1 && weight.size(0) == x.size(2),
               "qk_norm_rope: x [B,N,D] and weight [D] expected, got ", x.sizes(), " and ", weight.sizes());
    check_tables(tables, x.size(1), x.size(2));
  }
  const Args args{sides, tables, eps};
  dispatch<Args, bool>("qk_norm_rope", kVariants, args);
}

}  // namespace

RotaryTables expanded(const RotaryTables& tables, int64_t width) {
  const int64_t tokens = tables.rows.size(0), frequencies = width / 6, fixed_pairs = width / 2 - 3 * frequencies;
  const auto full = [&](const at::Tensor& table, double fixed) {
    // [N,3,K] -> [N,K,3]: frequency slowest, axis fastest.
    const auto turned = table.index_select(0, tables.rows.flatten()).view({tokens, 3, frequencies}).transpose(1, 2).reshape({tokens, -1});
    return at::cat({at::full({tokens, fixed_pairs}, fixed, table.options()), turned}, 1);
  };
  return {full(tables.cos, 1), full(tables.sin, 0), {}};
}

bool reads_separable_tables(at::Device device) {
  return device.is_cuda() && cuda_variant_allowed("qk_norm_rope", "cuda", device) && cuda_plugin().table->qk_norm_rope;
}

void qk_norm_rope_(at::Tensor& x, const at::Tensor& weight, const RotaryTables& tables, double eps) {
  const Side sides[] = {{x, weight}};
  check_and_run(sides, tables, eps);
}

void qk_norm_rope_(at::Tensor& q, const at::Tensor& q_weight, at::Tensor& k, const at::Tensor& k_weight, const RotaryTables& tables,
                   double eps) {
  const Side sides[] = {{q, q_weight}, {k, k_weight}};
  check_and_run(sides, tables, eps);
}

}  // namespace ltxv::ops
