#pragma once
// Configs and weights of tests/golden/tiny_model for tests of one component.
#include "support/golden.h"
#include "text/t5_config.h"
#include "transformer/transformer_config.h"
#include "weights/key_map.h"
#include "weights/parameters.h"

namespace ltxv::test {

/// The numbers of tiny_model.py, make_transformer().
inline TransformerConfig tiny_transformer_config() {
  TransformerConfig c;
  c.in_channels = c.out_channels = 8;
  c.head_count = 2, c.head_width = 10;
  c.layer_count = 3;
  c.caption_channels = 24;
  return c;
}

/// The numbers of tiny_model.py, make_t5().
inline T5Config tiny_t5_config() {
  T5Config c;
  c.vocabulary = 304;
  c.width = 24;
  c.head_count = 2, c.head_width = 8;
  c.feed_forward_width = 36;
  c.layer_count = 2;
  return c;
}

/// File names of diffusers' transformer to canonical ones, as the table in docs/models.md has them.
inline KeyMap diffusers_transformer_names() {
  KeyMap map;
  map.prefix("proj_in", "patchify_proj")
      .prefix("time_embed", "adaln_single")
      .anywhere("norm_q", "q_norm")
      .anywhere("norm_k", "k_norm");
  return map;
}

inline Parameters tiny_parameters(const std::string& component, at::ScalarType dtype) {
  return Parameters(open_component_folder(golden_path("tiny_model/" + component)),
                    component == "transformer" ? diffusers_transformer_names() : KeyMap(), dtype, component);
}

}  // namespace ltxv::test
