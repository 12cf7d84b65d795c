#pragma once
#include <cstdint>

namespace ltxv {

/// Numbers of a T5 v1.1 encoder (gated gelu-tanh, no biases, no scaling of q.k).
struct T5Config {
  int64_t vocabulary = 32128;
  int64_t width = 4096;
  int64_t head_count = 64, head_width = 64;  ///< head_count * head_width may differ from width
  int64_t feed_forward_width = 10240;
  int64_t layer_count = 24;
  int64_t bucket_count = 32, bucket_max_distance = 128;
  double norm_eps = 1e-6;
};

}  // namespace ltxv
