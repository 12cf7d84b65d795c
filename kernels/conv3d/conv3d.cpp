#include "conv3d/conv3d.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "conv3d/winograd_product.h"
#include "cuda_plugin.h"
#include "registry.h"
#include "vae_norm/vae_rows.h"

namespace ltxv::ops {
namespace {

constexpr int64_t kPlanes = 64;  // 4x4x4 transformed positions

struct Call {
  const Conv3dArgs& a;
  Scratch& scratch;
};

cpu::WinogradShape tiling(const Conv3dArgs& a) {
  const auto n = a.x.sizes();
  return {n[0], n[2] - 2, n[3], n[4], (n[2] - 1) / 2, (n[3] + 1) / 2, (n[4] + 1) / 2};
}

template <void (*kInput)(const cpu::WinogradInputArgs&, int64_t, int64_t),
          void (*kWeight)(const cpu::WinogradWeightArgs&, int64_t, int64_t),
          void (*kProduct)(const cpu::WinogradProductArgs&, int64_t, int64_t),
          void (*kOutput)(const cpu::WinogradOutputArgs&, int64_t, int64_t)>
at::Tensor winograd(const Call& call) {
  const Conv3dArgs& a = call.a;
  const cpu::WinogradShape s = tiling(a);
  const int64_t in = a.weight.size(1), out = a.weight.size(0), tiles = s.batch * s.tiles_t * s.tiles_h * s.tiles_w;
  // Weights are transformed a part at a time; a whole one of the widest stage would be 268 MB. What a block of tiles becomes should
  // stay in the cache of the core that works on it, and still be enough rows for a product near the peak.
  constexpr int64_t kWeightFloats = 16 << 20, kBlockFloats = 1 << 20, kFewestRows = 32, kMostRows = 128;
  const int64_t out_step = std::min(out, std::max<int64_t>(cpu::kVaeLanes, kWeightFloats / (kPlanes * in) / 16 * 16));
  const int64_t for_each = (tiles + at::get_num_threads() - 1) / at::get_num_threads();
  const int64_t rows_wanted = std::clamp(kBlockFloats / (kPlanes * (in + out_step)), 2 * kFewestRows, kMostRows);
  const int64_t block = std::min(tiles, std::clamp(for_each, kFewestRows, rows_wanted));
  const int64_t block_count = (tiles + block - 1) / block, workers = std::min<int64_t>(block_count, at::get_num_threads());
  // The transforms touch all 64 planes in turn; planes a power of two apart would share a few sets of every cache. So a plane has
  // an odd number of rows, if need be one that nobody reads.
  const auto odd = [](int64_t rows) { return rows | 1; };

  at::Tensor y = a.residual.defined() && a.into_residual
                     ? a.residual
                     : call.scratch.take_volume(s.batch, out, s.frames, s.height, s.width, at::kFloat);
  at::Tensor u_all = call.scratch.take({kPlanes * in * out_step}, at::kFloat);
  at::Tensor v_all = call.scratch.take({workers, kPlanes * odd(block) * (in + cpu::kRowGap)}, at::kFloat);
  at::Tensor m_all = call.scratch.take({workers, kPlanes * odd(block) * out_step}, at::kFloat);
  const float* x = a.x.const_data_ptr<float>();
  for (int64_t o = 0; o < out; o += out_step) {
    const int64_t count = std::min(out_step, out - o);
    float* u = u_all.mutable_data_ptr<float>();
    const cpu::WinogradWeightArgs weight{a.weight.scalar_type() == at::kBFloat16, a.weight.const_data_ptr(), u, in, o, count};
    at::parallel_for(0, count / cpu::kVaeLanes, 1,
                     [&](int64_t b, int64_t e) { kWeight(weight, b * cpu::kVaeLanes, e * cpu::kVaeLanes); });
    // Every core takes blocks as it comes to them: a busy machine delays it by one block and not by its whole share.
    std::atomic<int64_t> next = 0;
    at::parallel_for(0, workers, 1, [&](int64_t first, int64_t last) {
      for (int64_t w = first; w < last; ++w) {
        float* v = v_all.mutable_data_ptr<float>() + w * v_all.stride(0);
        float* m = m_all.mutable_data_ptr<float>() + w * m_all.stride(0);
        for (int64_t i = next++; i < block_count; i = next++) {
          const int64_t t = i * block, rows = std::min(block, tiles - t), capacity = odd(rows);
          kInput({s, x, v, in, t, capacity}, t, t + rows);
          kProduct({v, u, m, rows, capacity, in, count}, 0, kPlanes);
          kOutput({s, m, a.bias.const_data_ptr<float>(),
                   a.residual.defined() ? a.residual.const_data_ptr<float>() : nullptr, y.mutable_data_ptr<float>(), out, o, count, t,
                   capacity},
                  t, t + rows);
        }
      }
    });
  }
  return y;
}

/// One matrix product with the weights as they lie in the file. A convolution would first rewrite them in an order of its own,
/// which for hundreds of positions and millions of weights takes longer than the products.
template <void (*kGather)(const cpu::PatchArgs&, int64_t, int64_t)>
at::Tensor gathered(const Call& call) {
  const Conv3dArgs& a = call.a;
  const cpu::WinogradShape s = tiling(a);
  const int64_t in = a.weight.size(1), out = a.weight.size(0), positions = s.batch * s.frames * s.height * s.width;
  at::Tensor rows = call.scratch.take({positions, in * 27}, a.x.scalar_type());
  const cpu::PatchArgs patches{rows.scalar_type() == at::kBFloat16, s, a.x.const_data_ptr(), rows.mutable_data_ptr(), in};
  at::parallel_for(0, positions, 1, [&](int64_t begin, int64_t end) { kGather(patches, begin, end); });
  at::Tensor y = call.scratch.take({positions, out}, a.x.scalar_type());
  const at::Tensor matrix = a.weight.view({out, in * 27});
  if (matrix.scalar_type() == rows.scalar_type()) {
    at::addmm_out(y, a.bias, rows, matrix.t());
  } else {
    constexpr int64_t kChunkFloats = 32 << 20;  // every part reads all rows again, so a few large ones
    const int64_t step = std::max<int64_t>(16, kChunkFloats / matrix.size(1));
    at::Tensor wide = call.scratch.take({std::min(step, out), in * 27}, rows.scalar_type());
    for (int64_t o = 0; o < out; o += step) {
      const int64_t count = std::min(step, out - o);
      const at::Tensor part = wide.narrow(0, 0, count).copy_(matrix.narrow(0, o, count));
      at::Tensor columns = y.narrow(1, o, count);
      at::addmm_out(columns, a.bias.narrow(0, o, count), rows, part.t());
    }
  }
  at::Tensor volume = y.view({s.batch, s.frames, s.height, s.width, out}).permute({0, 4, 1, 2, 3});
  return a.residual.defined() ? volume.add_(a.residual) : volume;
}

/// What both take: stride 1, spatial zeros, dense storage.
bool fits_vectors(const Conv3dArgs& a) {
  if (!a.x.is_cpu() || a.bias.scalar_type() != a.x.scalar_type()) return false;
  if (a.weight.scalar_type() != a.x.scalar_type() && !(a.weight.scalar_type() == at::kBFloat16 && a.x.scalar_type() == at::kFloat)) {
    return false;
  }
  return a.stride == std::array<int64_t, 3>{1, 1, 1} && a.pad_space && a.weight.is_contiguous() && a.bias.is_contiguous() &&
         is_channels_last(a.x);
}

bool fits_winograd(const Conv3dArgs& a) {
  if (!fits_vectors(a) || a.x.scalar_type() != at::kFloat) return false;
  if (a.weight.size(0) % cpu::kVaeLanes || a.weight.size(1) % cpu::kVaeLanes) return false;
  if (a.residual.defined() && (a.residual.scalar_type() != at::kFloat || !is_channels_last(a.residual))) return false;
  // With few tiles the transformed weights, 2.4 times the weights, cost more than the products saved.
  constexpr int64_t kFewestTiles = 64;
  const cpu::WinogradShape s = tiling(a);
  return s.batch * s.tiles_t * s.tiles_h * s.tiles_w >= kFewestTiles;
}

bool fits_gathered(const Conv3dArgs& a) {
  if (!fits_vectors(a) || (a.x.scalar_type() != at::kFloat && a.x.scalar_type() != at::kBFloat16)) return false;
  constexpr int64_t kMostPositions = 512, kFewestWeights = 1 << 18;
  const cpu::WinogradShape s = tiling(a);
  return s.batch * s.frames * s.height * s.width <= kMostPositions && a.weight.numel() >= kFewestWeights;
}

namespace avx512 = cpu::avx512;
namespace avx2 = cpu::avx2;

bool fits(const Call& call) { return fits_winograd(call.a) || fits_gathered(call.a); }

at::Tensor vectors_avx512(const Call& call) {
  if (!fits_winograd(call.a)) return gathered<avx512::gather_patches>(call);
  return winograd<avx512::winograd_input, avx512::winograd_weight, avx512::winograd_product, avx512::winograd_output>(call);
}
at::Tensor vectors_avx2(const Call& call) {
  if (!fits_winograd(call.a)) return gathered<avx2::gather_patches>(call);
  return winograd<avx2::winograd_input, avx2::winograd_weight, avx2::winograd_product, avx2::winograd_output>(call);
}

at::Tensor plain(const Call& call) {
  // ATen answers a small f32 convolution in [B,C,T,H,W] storage whatever it was given; the next ops would follow it.
  at::Tensor y = conv3d_reference(call.a);
  return is_channels_last(call.a.x) ? call.scratch.as_volume(y) : y;
}

/// In bf16 ATen's plain loops make 0.7 GFLOP/s, against 72 in f32, on two Zen 3 cores.
bool is_widened(const Call& call) { return is_slow_bf16(call.a.x) && is_channels_last(call.a.x); }

/// A bf16 convolution made in f32 and rounded once.
template <at::Tensor (*kVectors)(const Call&)>
at::Tensor through_f32(const Call& call) {
  const auto as = [&](const at::Tensor& v, at::ScalarType dtype) {
    if (!v.defined()) return v;
    const auto n = v.sizes();
    return call.scratch.take_volume(n[0], n[1], n[2], n[3], n[4], dtype).copy_(v);
  };
  const at::Tensor x = as(call.a.x, at::kFloat), residual = as(call.a.residual, at::kFloat), bias = call.a.bias.to(at::kFloat);
  const Conv3dArgs wide{x, call.a.weight, bias, residual, call.a.stride, call.a.pad_space, /*into_residual=*/true};
  const Call in_f32{wide, call.scratch};
  return as(fits(in_f32) ? kVectors(in_f32) : plain(in_f32), at::kBFloat16);
}

at::Tensor run_avx512(const Call& call) { return is_widened(call) ? through_f32<vectors_avx512>(call) : vectors_avx512(call); }
at::Tensor run_avx2(const Call& call) { return is_widened(call) ? through_f32<vectors_avx2>(call) : vectors_avx2(call); }
bool accepts_avx512(const Call& call) { return cpu_features().avx512 && (is_widened(call) || fits(call)); }
bool accepts_avx2(const Call& call) { return cpu_features().avx2 && (is_widened(call) || fits(call)); }
bool accepts_always(const Call&) { return true; }

// cuDNN makes the product. ATen would add a bias to [..,C] in a pass that reads element by element, and the residual in another.
bool fits_cuda(const Call& call) {
  const Conv3dArgs& a = call.a;
  if (!is_cuda_float(a.x) || !is_channels_last(a.x) || a.weight.size(0) % 8 || a.bias.scalar_type() != a.x.scalar_type()) return false;
  if (!a.bias.is_contiguous() || !is_aligned(a.bias) || a.bias.device() != a.x.device()) return false;
  if (a.residual.defined() && (!is_channels_last(a.residual) || a.residual.scalar_type() != a.x.scalar_type() || !is_aligned(a.residual))) return false;
  return cuda_variant_allowed("conv3d", "cuda", a.x.device()) && cuda_plugin().table->add_bias;
}

at::Tensor run_cuda(const Call& call) {
  const Conv3dArgs& a = call.a;
  const int64_t pad = a.pad_space ? 1 : 0;
  at::Tensor y = call.scratch.as_volume(at::conv3d(a.x, a.weight.to(a.x.scalar_type()), {}, a.stride, {0, pad, pad}));
  launch_on<gpu::AddBiasLaunch>(y, "conv3d", cuda_plugin().table->add_bias,
                                {.type = cuda_element(y), .y = y.mutable_data_ptr(), .bias = a.bias.const_data_ptr(),
                                 .residual = a.residual.defined() ? a.residual.const_data_ptr() : nullptr, .count = y.numel(),
                                 .channels = static_cast<int32_t>(y.size(1))});
  return y;
}

constexpr Variant<Call, at::Tensor> kConv3d[] = {
    {"cuda", fits_cuda, run_cuda}, {"avx512", accepts_avx512, run_avx512}, {"avx2", accepts_avx2, run_avx2}, {"reference", accepts_always, plain}};

}  // namespace

at::Tensor conv3d(const Conv3dArgs& a, Scratch& scratch) {
  LTXV_CHECK(a.x.dim() == 5 && a.weight.dim() == 5 && a.x.size(1) == a.weight.size(1) && a.x.size(2) >= 3 &&
                 a.weight.sizes().slice(2) == at::IntArrayRef({3, 3, 3}),
             "conv3d: x ", a.x.sizes(), " and weight ", a.weight.sizes(), " do not fit");
  return dispatch<Call, at::Tensor>("conv3d", kConv3d, {a, scratch});
}

at::Tensor conv3d_reference(const Conv3dArgs& a) {
  const int64_t pad = a.pad_space ? 1 : 0;
  at::Tensor y = at::conv3d(a.x, a.weight.to(a.x.scalar_type()), a.bias, a.stride, {0, pad, pad});
  return a.residual.defined() ? y.add_(a.residual) : y;
}

}  // namespace ltxv::ops
