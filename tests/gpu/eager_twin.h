#pragma once
// The transformer as diffusers runs it, one ATen operation for one of its own, with random weights made on the device: what a forward
// costs without this library's work. It is no diffusers: no Python, which only makes it faster than the original.
#include <vector>

#include "base/tensor.h"
#include "transformer/transformer_config.h"

namespace ltxv::gpu_check {

class EagerTwin {
 public:
  EagerTwin(const TransformerConfig& config, at::ScalarType dtype);
  /// Shapes: tokens [B,N,C], text [B,S,caption], sigma [B] f32, cos and sin [1,N,D] f32 -> [B,N,C].
  /// Source: diffusers transformer_ltx.py, LTXVideoTransformer3DModel.forward.
  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& text, const at::Tensor& sigma, const at::Tensor& cos, const at::Tensor& sin) const;

 private:
  struct Layer {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
  };
  struct Attention {
    Layer q, k, v, out;
    at::Tensor q_norm, k_norm;
  };
  struct Block {
    Attention self, cross;
    Layer ff_in, ff_out;
    at::Tensor table;
  };
  Layer layer(int64_t in, int64_t out) const;
  at::Tensor attend(const Attention& a, const at::Tensor& x, const at::Tensor& context, const at::Tensor& cos, const at::Tensor& sin) const;

  TransformerConfig config_;
  at::TensorOptions options_;
  Layer patchify_, time_1_, time_2_, adaln_, caption_1_, caption_2_, out_;
  at::Tensor table_;
  std::vector<Block> blocks_;
};

}  // namespace ltxv::gpu_check
