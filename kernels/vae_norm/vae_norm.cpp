#include "vae_norm/vae_norm.h"

#include <ATen/Parallel.h>

#include "cuda_plugin.h"
#include "registry.h"
#include "vae_norm/vae_rows.h"

namespace ltxv::ops {
namespace {

constexpr double kEps = 1e-8;

bool fits_lanes(const at::Tensor& x) {
  return x.is_cpu() && x.size(1) % cpu::kVaeLanes == 0 && is_channels_last(x) &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}
bool is_bf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

struct NormArgs {
  const at::Tensor &x, &shift, &scale;
  FramePadding padding;
  Scratch& scratch;
};

template <void (*kRun)(const cpu::VaeNormArgs&, int64_t, int64_t)>
at::Tensor norm_rows(const NormArgs& a) {
  const auto n = a.x.sizes();  // [B,C,T,H,W]
  at::Tensor out = a.scratch.take_volume(n[0], n[1], a.padding.front + n[2] + a.padding.back, n[3], n[4], a.x.scalar_type());
  const cpu::VaeNormArgs args{is_bf16(a.x), a.x.const_data_ptr(), out.mutable_data_ptr(),
                              a.shift.defined() ? a.shift.const_data_ptr<float>() : nullptr,
                              a.scale.defined() ? a.scale.const_data_ptr<float>() : nullptr, n[2], n[3] * n[4], n[1],
                              a.padding.front, a.padding.back, static_cast<float>(kEps)};
  // Below about 32 KiB of elements waking a second thread costs more than it saves.
  at::parallel_for(0, n[0] * n[2] * n[3] * n[4], std::max<int64_t>(1, 32768 / n[1]),
                   [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return out;
}
at::Tensor norm_plain(const NormArgs& a) {
  return a.scratch.as_volume(vae_norm_reference(a.x, a.shift, a.scale, a.padding));
}
bool norm_avx512(const NormArgs& a) { return cpu_features().avx512 && fits_lanes(a.x); }
bool norm_avx2(const NormArgs& a) { return cpu_features().avx2 && fits_lanes(a.x); }
bool norm_always(const NormArgs&) { return true; }
bool norm_fits_cuda(const NormArgs& a) {
  const auto n = a.x.sizes();
  if (!is_cuda_float(a.x) || n[1] % 8 || n[1] > 2048 || n[0] * n[2] > 65535 || !is_channels_last(a.x) || !is_aligned(a.x)) return false;
  for (const auto* table : {&a.shift, &a.scale})
    if (table->defined() && (table->device() != a.x.device() || !is_aligned(*table))) return false;
  return cuda_variant_allowed("vae_norm", "cuda", a.x.device()) && cuda_plugin().table->vae_norm;
}
at::Tensor norm_cuda(const NormArgs& a) {
  const auto n = a.x.sizes();
  at::Tensor out = cuda_volume(a.x, n[0], n[1], a.padding.front + n[2] + a.padding.back, n[3], n[4]);
  const auto i32 = [](int64_t v) { return static_cast<int32_t>(v); };
  launch_on<gpu::VaeNormLaunch>(a.x, "vae_norm", cuda_plugin().table->vae_norm,
                                {.type = cuda_element(a.x), .x = a.x.const_data_ptr(), .out = out.mutable_data_ptr(),
                                 .shift = a.shift.defined() ? a.shift.const_data_ptr<float>() : nullptr,
                                 .scale = a.scale.defined() ? a.scale.const_data_ptr<float>() : nullptr, .batch = i32(n[0]),
                                 .frames = i32(n[2]), .channels = i32(n[1]), .positions = n[3] * n[4], .front = i32(a.padding.front),
                                 .back = i32(a.padding.back), .eps = static_cast<float>(kEps)});
  return out;
}

constexpr Variant<NormArgs, at::Tensor> kNorm[] = {{"cuda", norm_fits_cuda, norm_cuda},
                                                   {"avx512", norm_avx512, norm_rows<cpu::avx512::vae_norm>},
                                                   {"avx2", norm_avx2, norm_rows<cpu::avx2::vae_norm>},
                                                   {"reference", norm_always, norm_plain}};

struct UnfoldArgs {
  const at::Tensor &y, &residual;
  const std::array<int64_t, 3>& stride;
  FirstFrame first;
  Scratch& scratch;
  int64_t dropped() const { return first == FirstFrame::drop ? stride[0] - 1 : 0; }
  int64_t positions() const { return stride[0] * stride[1] * stride[2]; }
};

template <void (*kRun)(const cpu::DepthToSpaceArgs&, int64_t, int64_t)>
at::Tensor unfold_rows(const UnfoldArgs& a) {
  const auto n = a.y.sizes();
  const auto& s = a.stride;
  const int64_t channels = n[1] / a.positions();
  at::Tensor out = a.scratch.take_volume(n[0], channels, n[2] * s[0] - a.dropped(), n[3] * s[1], n[4] * s[2], a.y.scalar_type());
  const bool add = a.residual.defined();
  const cpu::DepthToSpaceArgs args{is_bf16(a.y), a.y.const_data_ptr(), add ? a.residual.const_data_ptr() : nullptr,
                                   out.mutable_data_ptr(), n[0], n[2], n[3], n[4], channels,
                                   add ? a.residual.size(1) / a.positions() : 0, s[0], s[1], s[2], a.dropped()};
  at::parallel_for(0, n[0] * n[2] * n[3], std::max<int64_t>(1, 32768 / (n[1] * n[4])),
                   [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return out;
}
at::Tensor unfold_plain(const UnfoldArgs& a) {
  return a.scratch.as_volume(depth_to_space_reference(a.y, a.residual, a.stride, a.first));
}
bool unfold_fits(const UnfoldArgs& a) {
  return fits_lanes(a.y) && a.y.size(1) / a.positions() % cpu::kVaeLanes == 0 &&
         (!a.residual.defined() || (is_channels_last(a.residual) && a.residual.scalar_type() == a.y.scalar_type()));
}
bool unfold_avx512(const UnfoldArgs& a) { return cpu_features().avx512 && unfold_fits(a); }
bool unfold_avx2(const UnfoldArgs& a) { return cpu_features().avx2 && unfold_fits(a); }
bool unfold_always(const UnfoldArgs&) { return true; }
bool unfold_fits_cuda(const UnfoldArgs& a) {
  const int64_t positions = a.positions(), channels = a.y.size(1) / positions;
  if (!is_cuda_float(a.y) || channels % 8 || a.y.size(1) > 8192 || !is_channels_last(a.y) || !is_aligned(a.y)) return false;
  if (positions != 1 && positions != 2 && positions != 4 && positions != 8) return false;
  if (a.residual.defined() && (a.residual.device() != a.y.device() || a.residual.scalar_type() != a.y.scalar_type() ||
                               a.residual.size(1) / positions % 8 || !is_channels_last(a.residual) || !is_aligned(a.residual))) {
    return false;
  }
  return cuda_variant_allowed("depth_to_space", "cuda", a.y.device()) && cuda_plugin().table->depth_to_space;
}
at::Tensor unfold_cuda(const UnfoldArgs& a) {
  const auto n = a.y.sizes();
  const auto& s = a.stride;
  const auto i32 = [](int64_t v) { return static_cast<int32_t>(v); };
  const bool add = a.residual.defined();
  at::Tensor out = cuda_volume(a.y, n[0], n[1] / a.positions(), n[2] * s[0] - a.dropped(), n[3] * s[1], n[4] * s[2]);
  launch_on<gpu::DepthToSpaceLaunch>(a.y, "depth_to_space", cuda_plugin().table->depth_to_space,
                                     {.type = cuda_element(a.y), .y = a.y.const_data_ptr(),
                                      .residual = add ? a.residual.const_data_ptr() : nullptr, .out = out.mutable_data_ptr(),
                                      .batch = i32(n[0]), .frames = i32(n[2]), .height = i32(n[3]), .width = i32(n[4]),
                                      .channels = i32(n[1] / a.positions()),
                                      .residual_channels = add ? i32(a.residual.size(1) / a.positions()) : 0, .st = i32(s[0]),
                                      .sh = i32(s[1]), .sw = i32(s[2]), .dropped = i32(a.dropped())});
  return out;
}

constexpr Variant<UnfoldArgs, at::Tensor> kUnfold[] = {{"cuda", unfold_fits_cuda, unfold_cuda},
                                                       {"avx512", unfold_avx512, unfold_rows<cpu::avx512::depth_to_space>},
                                                       {"avx2", unfold_avx2, unfold_rows<cpu::avx2::depth_to_space>},
                                                       {"reference", unfold_always, unfold_plain}};

at::Tensor unfolded(const at::Tensor& x, const std::array<int64_t, 3>& s) {
  const auto n = x.sizes();
  const int64_t channels = n[1] / (s[0] * s[1] * s[2]);
  return x.reshape({n[0], channels, s[0], s[1], s[2], n[2], n[3], n[4]})
      .permute({0, 1, 5, 2, 6, 3, 7, 4})
      .reshape({n[0], channels, n[2] * s[0], n[3] * s[1], n[4] * s[2]});
}

}  // namespace

at::Tensor vae_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, FramePadding padding,
                    Scratch& scratch) {
  LTXV_CHECK(x.dim() == 5 && x.numel() > 0, "vae_norm: x [B,C,T,H,W] expected, got ", x.sizes());
  for (const at::Tensor& table : {shift, scale}) {
    LTXV_CHECK(table.defined() == scale.defined(), "vae_norm: shift and scale come together");
    LTXV_CHECK(!table.defined() || (table.dim() == 2 && table.size(0) == x.size(0) && table.size(1) == x.size(1) &&
                                    table.scalar_type() == at::kFloat && table.is_contiguous()),
               "vae_norm: table f32 [", x.size(0), ",", x.size(1), "] expected");
  }
  return dispatch<NormArgs, at::Tensor>("vae_norm", kNorm, {x, shift, scale, padding, scratch});
}

at::Tensor vae_norm_reference(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, FramePadding padding) {
  // f32: the mean of hundreds of squares does not fit bf16's eight significant bits.
  at::Tensor y = x.to(at::kFloat);
  y = y * at::rsqrt(y.square().mean(1, /*keepdim=*/true) + kEps);
  if (scale.defined()) {
    const auto wide = [](const at::Tensor& t) { return t.unsqueeze(-1).unsqueeze(-1).unsqueeze(-1); };
    y = y.mul_(wide(scale) + 1).add_(wide(shift));
  }
  return pad_frames(at::silu_(y).to(x.scalar_type()), padding);
}

at::Tensor depth_to_space(const at::Tensor& y, const at::Tensor& residual, const std::array<int64_t, 3>& stride,
                          Scratch& scratch, FirstFrame first) {
  const UnfoldArgs args{y, residual, stride, first, scratch};
  LTXV_CHECK(y.dim() == 5 && y.numel() > 0 && y.size(1) % args.positions() == 0, "depth_to_space: y ", y.sizes(),
             " does not unfold ", args.positions(), " positions");
  LTXV_CHECK(!residual.defined() || (residual.dim() == 5 && residual.size(1) % args.positions() == 0 && residual.size(1) > 0 &&
                                     y.size(1) % residual.size(1) == 0 && y.size(0) == residual.size(0) &&
                                     y.sizes().slice(2) == residual.sizes().slice(2)),
             "depth_to_space: the residual does not fit y ", y.sizes());
  return dispatch<UnfoldArgs, at::Tensor>("depth_to_space", kUnfold, args);
}

at::Tensor depth_to_space_reference(const at::Tensor& y, const at::Tensor& residual, const std::array<int64_t, 3>& stride,
                                    FirstFrame first) {
  at::Tensor out = unfolded(y, stride);
  if (residual.defined()) {
    const at::Tensor spread = unfolded(residual, stride);
    out = out + spread.repeat({1, out.size(1) / spread.size(1), 1, 1, 1});
  }
  const int64_t dropped = first == FirstFrame::drop ? stride[0] - 1 : 0;
  return out.narrow(2, dropped, out.size(2) - dropped);
}

at::Tensor pad_frames(const at::Tensor& x, FramePadding padding) {
  if (padding.front == 0 && padding.back == 0) return x;
  std::vector<at::Tensor> parts(padding.front, x.narrow(2, 0, 1));
  parts.push_back(x);
  parts.insert(parts.end(), padding.back, x.narrow(2, x.size(2) - 1, 1));
  return at::cat(parts, 2);
}

}  // namespace ltxv::ops
