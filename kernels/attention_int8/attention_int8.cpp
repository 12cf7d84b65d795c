#include "attention_int8/attention_int8.h"

#include "attention/attention_args.h"
#include "attention_int8/layout.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

constexpr double kSmallest = 1e-12;  // as in quantise.h: a scale of zero would make nothing of masked scores

using Args = AttentionArgs;

at::Tensor heads(const at::Tensor& x, int64_t head_count) { return split_heads(x, head_count).to(at::kFloat); }

struct Codes {
  at::Tensor codes, scales;  // f32 whole numbers; value = code * scale
};

// Largest magnitudes over the last axis, or the last two.
Codes int8_codes(const at::Tensor& x, at::IntArrayRef axes) {
  const at::Tensor largest = x.abs().amax(axes, /*keepdim=*/true).clamp_min(kSmallest);
  return {(x * (127.0 / largest)).round(), largest / 127.0};
}

Codes key_codes(const at::Tensor& k) {
  constexpr int64_t kTile = gpu::kInt8KeyTile;
  const at::Tensor smooth = k - k.mean(2, /*keepdim=*/true);
  const int64_t count = k.size(2), tiles = (count + kTile - 1) / kTile;
  const auto padded = at::constant_pad_nd(smooth, {0, 0, 0, tiles * kTile - count}).unflatten(2, {tiles, kTile});
  Codes c = int8_codes(padded, {-2, -1});
  return {c.codes.flatten(2, 3).narrow(2, 0, count), c.scales.expand({-1, -1, -1, kTile, 1}).flatten(2, 3).narrow(2, 0, count)};
}

Codes value_codes(const at::Tensor& v) {
  const at::Tensor largest = v.abs().amax(2, /*keepdim=*/true).clamp_min(kSmallest);
  return {(v * (448.0 / largest)).to(at::kFloat8_e4m3fn).to(at::kFloat), largest / 448.0};
}

at::Tensor reference(const Args& a) {
  constexpr int64_t kPieceElements = 1 << 24;  // of scores
  constexpr double kLog2E = 1.44269504088896341;
  if (a.k.size(1) == 0) return at::zeros_like(a.q);
  const Codes k = key_codes(heads(a.k, a.head_count)), v = value_codes(heads(a.v, a.head_count));
  const at::Tensor transposed = k.codes.transpose(-1, -2), key_scales = k.scales.transpose(-1, -2);
  const int64_t rows = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, a.q.size(0) * a.head_count * a.k.size(1)));
  at::Tensor out = at::empty(a.q.sizes(), a.q.options());
  for (int64_t begin = 0; begin < a.q.size(1); begin += rows) {
    const int64_t count = std::min(rows, a.q.size(1) - begin);
    const Codes q = int8_codes(heads(a.q.narrow(1, begin, count), a.head_count), {-1});
    const at::Tensor scales = q.scales * (kLog2E * a.scale());
    at::Tensor s = at::matmul(q.codes, transposed).mul_(scales).mul_(key_scales);  // sums below 2^24: exact
    s = at::exp2(s.sub_(s.amax(-1, true)).add_(gpu::kInt8WeightExponent));
    const at::Tensor sums = s.sum(-1, true);
    const at::Tensor o = at::matmul(s.to(at::kFloat8_e4m3fn).to(at::kFloat), v.codes).div_(sums).mul_(v.scales);
    out.narrow(1, begin, count).copy_(merge_heads(o));
  }
  return out;
}
bool always(const Args&) { return true; }

// `launcher` is nullptr where the plug-in lacks that kernel.
using Launcher = int (*gpu::CudaKernelTable::*)(const gpu::AttentionInt8Launch*);
constexpr Launcher kMma = &gpu::CudaKernelTable::attention_int8, kWgmma = &gpu::CudaKernelTable::attention_int8_wgmma;

bool is_allowed(at::Device device, int64_t width, std::string_view variant, Launcher launcher) {
  const bool for_width = width == 128 || (width == 64 && launcher == kMma);
  return for_width && cuda_variant_allowed("attention_int8", variant, device) && cuda_plugin().table->*launcher;
}

bool fits_cuda(const Args& a, std::string_view variant, Launcher launcher) {
  return a.k.numel() > 0 && fits_attention_launch(a, INT32_MAX - 128) && is_allowed(a.q.device(), a.width(), variant, launcher);
}

at::Tensor run_cuda(const Args& a, Launcher launcher) {
  at::Tensor out = at::empty({a.q.size(0), a.q.size(1), a.q.size(2)}, a.q.options());
  const auto space = gpu::int8_workspace(a.q.size(0) * a.head_count, a.width(), a.q.size(1), a.k.size(1));
  const at::Tensor workspace = at::empty({space.bytes}, a.q.options().dtype(at::kByte));
  launch_on(a.q, "attention_int8", cuda_plugin().table->*launcher,
            gpu::AttentionInt8Launch{.attention = attention_launch(a, out), .workspace = workspace.mutable_data_ptr()});
  return out;
}

bool fits_wgmma(const Args& a) { return fits_cuda(a, "cuda_wgmma", kWgmma) && cuda_arch(a.q.device()) == 90; }
at::Tensor wgmma(const Args& a) { return run_cuda(a, kWgmma); }
bool fits_mma(const Args& a) { return fits_cuda(a, "cuda_mma", kMma); }
at::Tensor mma(const Args& a) { return run_cuda(a, kMma); }

constexpr Variant<Args, at::Tensor> kVariants[] = {{"cuda_wgmma", fits_wgmma, wgmma}, {"cuda_mma", fits_mma, mma}, {"reference", always, reference}};

}  // namespace

bool has_int8_attention(at::Device device, int64_t head_width) {
  return is_allowed(device, head_width, "cuda_wgmma", kWgmma) || is_allowed(device, head_width, "cuda_mma", kMma);
}

at::Tensor attention_int8(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t head_count) {
  const Args args{q, k, v, head_count};
  check_attention("attention_int8", args);
  return dispatch<Args, at::Tensor>("attention_int8", kVariants, args);
}

}  // namespace ltxv::ops
