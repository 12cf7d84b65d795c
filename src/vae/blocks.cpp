#include "vae/blocks.h"

#include <optional>
#include <utility>

#include "base/transfer.h"
#include "nn/timestep.h"

namespace ltxv::vae {
namespace {

constexpr double kLayerNormEps = 1e-6;

/// The rows of a modulation table plus an embedding [B,rows*C], each [B,C] f32.
std::vector<at::Tensor> modulation(const at::Tensor& table, const at::Tensor& embedding) {
  if (!table.defined()) return std::vector<at::Tensor>(4);
  const int64_t rows = table.size(0), channels = table.size(1);
  // The sum is made in the compute type, as the reference does; the norm that uses it works in f32.
  const at::Tensor sums = (table + embedding.view({-1, rows, channels})).to(at::kFloat);
  return sums.transpose(0, 1).contiguous().unbind(0);
}

class ResidualBlock {
 public:
  ResidualBlock(const Scope& at, int64_t in, int64_t out, const ConvOptions& conv, bool timestep_conditioning, bool inject_noise)
      : conv1_(at / "conv1", in, out, conv), conv2_(at / "conv2", out, out, conv) {
    if (timestep_conditioning) table_ = at.take("scale_shift_table", {4, in});
    if (inject_noise) {
      noise_scale1_ = at.take("per_channel_scale1", {in, 1, 1});
      noise_scale2_ = at.take("per_channel_scale2", {in, 1, 1});
    }
    if (in != out) {
      norm_weight_ = at.take("norm3.norm.weight", {in});
      norm_bias_ = at.take("norm3.norm.bias", {in});
      shortcut_weight_ = at.take("conv_shortcut.weight", {out, in, 1, 1, 1});
      shortcut_bias_ = at.take("conv_shortcut.bias", {out});
    }
  }

  at::Tensor operator()(at::Tensor x, const at::Tensor& embedding, const Pass& pass) const {
    const auto m = modulation(table_, embedding);  // shift1, scale1, shift2, scale2
    TimeCarry::Place* const place = pass.place();
    at::Tensor h = conv1_.normed(x, m[0], m[1], {}, pass);
    if (shortcut_weight_.defined()) x = shortcut(x);
    if (h.defined()) {
      add_noise_(h, noise_scale1_, pass);
      h = conv2_.normed(h, m[2], m[3], {x, place}, pass);
    } else {
      TimeCarry::delayed(*place, x, 0, *pass.scratch);
    }
    if (h.defined()) add_noise_(h, noise_scale2_, pass);
    return h;
  }

 private:
  at::Tensor shortcut(const at::Tensor& x) const {
    const int64_t in = x.size(1);
    const at::Tensor rows = at::layer_norm(x.movedim(1, -1), {in}, norm_weight_, norm_bias_, kLayerNormEps);
    return at::linear(rows, shortcut_weight_.view({-1, in}), shortcut_bias_).movedim(-1, 1);
  }

  static void add_noise_(at::Tensor& h, const at::Tensor& scale, const Pass& pass) {
    if (!scale.defined() || !pass.injected_noise || !*pass.injected_noise) return;
    TimeCarry::Place* const place = pass.place();
    at::Tensor map = place ? place->kept : at::Tensor();
    if (!map.defined()) map = (*pass.injected_noise)(h.size(3), h.size(4));
    if (place) place->kept = map;
    LTXV_CHECK(map.dim() == 2 && map.size(0) == h.size(3) && map.size(1) == h.size(4), "injected decoder noise has the shape ",
               map.sizes(), ", [", h.size(3), ", ", h.size(4), "] is needed");
    h.add_((to_device(map, h.device()).to(h.scalar_type()) * scale).unsqueeze(1));  // [C,H,W] -> [C,1,H,W]: one map for all frames
  }

  Conv3d conv1_, conv2_;
  at::Tensor table_, noise_scale1_, noise_scale2_;
  at::Tensor norm_weight_, norm_bias_, shortcut_weight_, shortcut_bias_;
};

class ResidualBlocks : public Block {
 public:
  ResidualBlocks(const Scope& at, const VaeBlock& b, const ConvOptions& conv, bool timestep_conditioning) {
    if (timestep_conditioning) embedder_.emplace(at / "time_embedder", 4 * b.in_channels);
    for (int64_t i = 0; i < b.layer_count; ++i) {
      blocks_.emplace_back(at / "res_blocks" / i, b.in_channels, b.in_channels, conv, timestep_conditioning, b.inject_noise);
    }
  }
  at::Tensor operator()(at::Tensor x, const Pass& pass) const override {
    const at::Tensor of_timestep = embedding(pass);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      pass.run->check_cancelled();
      x = step(i, std::move(x), of_timestep, pass);
    }
    return x;
  }
  size_t step_count() const override { return blocks_.size(); }
  at::Tensor embedding(const Pass& pass) const override { return embedder_ ? (*embedder_)(pass.timestep) : at::Tensor(); }
  at::Tensor step(size_t index, at::Tensor x, const at::Tensor& embedding, const Pass& pass) const override {
    return blocks_[index](std::move(x), embedding, pass);
  }

 private:
  std::optional<nn::TimestepEmbedder> embedder_;
  std::vector<ResidualBlock> blocks_;
};

class WidthChange : public Block {
 public:
  WidthChange(const Scope& at, const VaeBlock& b, const ConvOptions& conv)
      : block_(at, b.in_channels, b.out_channels, conv, /*timestep_conditioning=*/false, b.inject_noise) {}
  at::Tensor operator()(at::Tensor x, const Pass& pass) const override { return block_(std::move(x), {}, pass); }

 private:
  ResidualBlock block_;
};

class StridedConv : public Block {
 public:
  StridedConv(const Scope& at, const VaeBlock& b, ConvOptions conv)
      : conv_(at, b.in_channels, b.out_channels, (conv.stride = vae_block_stride(b), conv)) {}
  at::Tensor operator()(at::Tensor x, const Pass& pass) const override { return conv_(x, pass); }

 private:
  Conv3d conv_;
};

class SpaceToDepth : public Block {
 public:
  SpaceToDepth(const Scope& at, const VaeBlock& b, const ConvOptions& conv)
      : stride_(vae_block_stride(b)),
        conv_(at / "conv", b.in_channels, b.out_channels / (stride_[0] * stride_[1] * stride_[2]), conv) {}
  at::Tensor operator()(at::Tensor x, const Pass& pass) const override {
    // A second first frame makes 8k+1 frames divisible by two.
    TimeCarry::Place* const place = pass.place();
    if (stride_[0] == 2 && !(place && std::exchange(place->started, true))) x = ops::pad_frames(x, {.front = 1});
    at::Tensor y = space_to_depth(conv_(x, pass), stride_);
    y.add_(space_to_depth(x, stride_).unflatten(1, {y.size(1), -1}).mean(2));
    return pass.path == VaePath::fast ? pass.scratch->as_volume(y) : y;
  }

 private:
  std::array<int64_t, 3> stride_;
  Conv3d conv_;
};

class DepthToSpace : public Block {
 public:
  DepthToSpace(const Scope& at, const VaeBlock& b, const ConvOptions& conv)
      : stride_(vae_block_stride(b)),
        residual_(b.residual),
        conv_(at / "conv", b.in_channels, b.out_channels * stride_[0] * stride_[1] * stride_[2], conv) {}
  at::Tensor operator()(at::Tensor x, const Pass& pass) const override {
    TimeCarry::Place* const place = pass.place();
    const at::Tensor y = conv_(x, pass);
    if (!residual_) x.reset();
    if (place && residual_) x = TimeCarry::delayed(*place, x, y.defined() ? y.size(2) : 0, *pass.scratch);
    if (!y.defined()) return y;
    const auto start = place && std::exchange(place->started, true) ? ops::FirstFrame::keep : ops::FirstFrame::drop;
    return pass.path == VaePath::fast ? ops::depth_to_space(y, x, stride_, *pass.scratch, start)
                                      : ops::depth_to_space_reference(y, x, stride_, start);
  }

 private:
  std::array<int64_t, 3> stride_;
  bool residual_;
  Conv3d conv_;
};

}  // namespace

Conv3d::Conv3d(const Scope& at, int64_t in, int64_t out, const ConvOptions& options)
    : weight_(at.take_stored("conv.weight", {out, in, 3, 3, 3})), bias_(at.take("conv.bias", {out})), options_(options) {
  // In the type and order that convolutions of a device read, once, instead of in every call.
  if (at.parameters().place()) weight_.values = weight_.values.to(bias_.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast3d);
}

ops::FramePadding Conv3d::padding(const TimeCarry::Place* place, const Pass& pass) const {
  const ops::FramePadding of_clip = options_.time == TimePadding::causal ? ops::FramePadding{2, 0} : ops::FramePadding{1, 1};
  return place ? pass.carry->padding(*place, of_clip) : of_clip;
}

at::Tensor Conv3d::operator()(const at::Tensor& x, const Pass& pass) const {
  TimeCarry::Place* const place = pass.place();
  const bool later = place && place->started;
  at::Tensor frames = ops::pad_frames(x, padding(place, pass));
  // Joining frames of which one side has a single one may change the storage, and a device's convolutions would follow.
  if (pass.path == VaePath::fast && !frames.is_cpu()) frames = pass.scratch->as_volume(frames);
  if (place && !pass.carry->join_(*place, frames)) return {};
  // A strided convolution stops at every second frame: the one behind the piece before is not the next but the one after it.
  if (later && options_.stride[0] == 2) frames = frames.narrow(2, 1, frames.size(2) - 1).contiguous();
  return padded(std::move(frames), {}, pass);
}

at::Tensor Conv3d::normed(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, Residual residual, const Pass& pass) const {
  TimeCarry::Place* const place = pass.place();
  at::Tensor frames = pass.path == VaePath::fast ? ops::vae_norm(x, shift, scale, padding(place, pass), *pass.scratch)
                                                 : ops::vae_norm_reference(x, shift, scale, padding(place, pass));
  const bool gives = !place || pass.carry->join_(*place, frames);
  if (residual.place) residual.x = TimeCarry::delayed(*residual.place, residual.x, gives ? frames.size(2) - 2 : 0, *pass.scratch);
  return gives ? padded(std::move(frames), residual.x, pass) : at::Tensor();
}

at::Tensor Conv3d::padded(at::Tensor x, const at::Tensor& residual, const Pass& pass) const {
  const bool zeros = options_.space == SpatialPadding::zeros;
  if (!zeros) x = at::pad(x, {1, 1, 1, 1, 0, 0}, options_.space == SpatialPadding::reflect ? "reflect" : "replicate");
  const ops::Conv3dArgs args{.x = x, .weight = weight_.values, .bias = bias_, .residual = residual, .stride = options_.stride,
                             .pad_space = zeros, .into_residual = true};
  at::Tensor y = pass.path == VaePath::fast ? ops::conv3d(args, *pass.scratch) : ops::conv3d_reference(args);
  weight_.let_go();  // a decoder's convolutions are gigabytes, of which one at a time is in use
  return y;
}

std::unique_ptr<Block> make_encoder_block(const Scope& at, const VaeBlock& b, const ConvOptions& conv) {
  if (b.kind == "res_x") return std::make_unique<ResidualBlocks>(at, b, conv, false);
  if (b.kind == "res_x_y") return std::make_unique<WidthChange>(at, b, conv);
  if (b.kind.ends_with("_res")) return std::make_unique<SpaceToDepth>(at, b, conv);
  LTXV_ASSERT(b.kind.starts_with("compress_"), "encoder block ", b.kind);
  return std::make_unique<StridedConv>(at, b, conv);
}

std::unique_ptr<Block> make_decoder_block(const Scope& at, const VaeBlock& b, const ConvOptions& conv,
                                          bool timestep_conditioning) {
  if (b.kind == "res_x") return std::make_unique<ResidualBlocks>(at, b, conv, timestep_conditioning);
  if (b.kind == "res_x_y") return std::make_unique<WidthChange>(at, b, conv);
  LTXV_ASSERT(b.kind.starts_with("compress_"), "decoder block ", b.kind);
  return std::make_unique<DepthToSpace>(at, b, conv);
}

at::Tensor space_to_depth(const at::Tensor& x, const std::array<int64_t, 3>& s) {
  const auto n = x.sizes();
  return x.reshape({n[0], n[1], n[2] / s[0], s[0], n[3] / s[1], s[1], n[4] / s[2], s[2]})
      .permute({0, 1, 3, 5, 7, 2, 4, 6})
      .reshape({n[0], n[1] * s[0] * s[1] * s[2], n[2] / s[0], n[3] / s[1], n[4] / s[2]});
}

at::Tensor patchify(const at::Tensor& pixels, int64_t p) {
  const auto n = pixels.sizes();
  return pixels.reshape({n[0], n[1], n[2], n[3] / p, p, n[4] / p, p})
      .permute({0, 1, 6, 4, 2, 3, 5})
      .reshape({n[0], n[1] * p * p, n[2], n[3] / p, n[4] / p});
}

at::Tensor unpatchify(const at::Tensor& x, int64_t p) {
  const auto n = x.sizes();
  return x.reshape({n[0], n[1] / (p * p), p, p, n[2], n[3], n[4]})
      .permute({0, 1, 4, 5, 3, 6, 2})
      .reshape({n[0], n[1] / (p * p), n[2], n[3] * p, n[4] * p});
}

}  // namespace ltxv::vae
