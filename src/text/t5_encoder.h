#pragma once
#include <vector>

#include "base/run_context.h"
#include "nn/layers.h"
#include "text/t5_config.h"

namespace ltxv {

/// A T5 v1.1 encoder. Source: transformers modeling_t5.py, T5EncoderModel.
class T5Encoder {
 public:
  /// Claims every tensor; the embedding is stored as `shared.weight` or `encoder.embed_tokens.weight` (or both, equal).
  /// Errors: BadWeights, NumericError.
  T5Encoder(const T5Config& config, Parameters& parameters);

  /// Shapes: ids i64 [1,S]; mask i64 [1,S], 1 = token, 0 = padding; both in the host's memory. Returns [1,S,width] in the weights'
  /// dtype, on their device.
  /// Errors: Cancelled (between layers); InvalidArgument for an id outside the vocabulary.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& mask, const RunContext& run) const;

  at::ScalarType dtype() const { return embedding_.dtype(); }

 private:
  struct Layer {
    at::Tensor attention_norm, feed_forward_norm;
    nn::Linear q, k, v, o, wi_0, wi_1, wo;
    MappedWeights mapped;
  };
  at::Tensor position_bias(int64_t length) const;  // [1,A,S,S]

  T5Config config_;
  nn::Embedding embedding_;
  at::Tensor relative_bias_, final_norm_;
  std::vector<Layer> layers_;
  std::shared_ptr<WeightPlace> place_;
};

/// Bucket of every relative position key - query, i64 [S,S]; bidirectional.
/// Source: transformers modeling_t5.py, T5Attention._relative_position_bucket.
at::Tensor t5_position_buckets(int64_t length, const T5Config& config);

}  // namespace ltxv
