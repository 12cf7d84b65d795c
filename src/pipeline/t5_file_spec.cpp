// T5 encoders saved as one file without a config: names and numbers follow from the tensors.
#include <map>

#include "pipeline/spec_files.h"
#include "weights/tensor_source.h"

namespace ltxv {

KeyMap t5_names() {
  KeyMap names;
  // Whole encoder-decoder models, and what some tools keep beside the weights.
  names.drop("decoder.").drop("dec.").drop("lm_head.").drop("output.weight").drop("spiece_model");
  names.prefix("text_encoders.t5xxl.transformer", "").prefix("t5xxl.transformer", "");
  // llama.cpp's names; none of them occurs in the others.
  names.prefix("token_embd", "shared").prefix("enc.output_norm", "encoder.final_layer_norm").prefix("enc.blk", "encoder.block");
  for (const char* letter : {"q", "k", "v", "o"}) names.anywhere(std::string("attn_") + letter, std::string("layer.0.SelfAttention.") + letter);
  names.anywhere("attn_rel_b", "layer.0.SelfAttention.relative_attention_bias").anywhere("attn_norm", "layer.0.layer_norm");
  names.anywhere("ffn_gate", "layer.1.DenseReluDense.wi_0").anywhere("ffn_up", "layer.1.DenseReluDense.wi_1");
  names.anywhere("ffn_down", "layer.1.DenseReluDense.wo").anywhere("ffn_norm", "layer.1.layer_norm");
  return names;
}

KeyMap t5_gguf_spelling() {
  KeyMap names;
  names.prefix("shared", "token_embd").prefix("encoder.final_layer_norm", "enc.output_norm").prefix("encoder.block", "enc.blk");
  for (const char* letter : {"q", "k", "v", "o"}) names.anywhere(std::string("layer.0.SelfAttention.") + letter, std::string("attn_") + letter);
  names.anywhere("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b").anywhere("layer.0.layer_norm", "attn_norm");
  names.anywhere("layer.1.DenseReluDense.wi_0", "ffn_gate").anywhere("layer.1.DenseReluDense.wi_1", "ffn_up");
  names.anywhere("layer.1.DenseReluDense.wo", "ffn_down").anywhere("layer.1.layer_norm", "ffn_norm");
  return names;
}

T5Config t5_config_from_tensors(const TensorSource& file) {
  const KeyMap names = t5_names();
  std::map<std::string, const TensorEntry*> tensors;
  for (const TensorEntry& entry : file.entries()) tensors[names.apply(entry.name)] = &entry;
  const auto shape = [&](const std::string& name) {
    const auto it = tensors.find(name);
    LTXV_REQUIRE(BadWeights, it != tensors.end(), file.path(), ": not a T5 encoder: tensor \"", name, "\" is missing");
    LTXV_REQUIRE(BadWeights, it->second->shape.size() == 2, file.path(), ": tensor \"", it->second->name, "\" has ",
                 it->second->shape.size(), " axes, not 2");
    return it->second->shape;
  };
  const std::string first = "encoder.block.0.layer.";
  const auto embedding = shape(tensors.count("shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight");
  const auto bias = shape(first + "0.SelfAttention.relative_attention_bias.weight");
  T5Config c;
  c.vocabulary = embedding[0];
  c.width = embedding[1];
  c.bucket_count = bias[0];
  c.head_count = bias[1];
  const int64_t inner = shape(first + "0.SelfAttention.q.weight")[0];
  LTXV_REQUIRE(BadWeights, c.head_count > 0 && inner % c.head_count == 0, file.path(), ": ", c.head_count, " heads do not divide width ",
               inner);
  c.head_width = inner / c.head_count;
  c.feed_forward_width = shape(first + "1.DenseReluDense.wi_0.weight")[0];
  c.layer_count = 0;
  while (tensors.count(text("encoder.block.", c.layer_count, ".layer.0.layer_norm.weight"))) ++c.layer_count;
  LTXV_REQUIRE(BadWeights, c.layer_count > 0 && c.bucket_count >= 4 && c.bucket_count % 4 == 0, file.path(), ": not a T5 encoder");
  return c;
}

}  // namespace ltxv
