#pragma once
// A transformer of any size without a file: every tensor is the start of one block of random numbers.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "transformer/transformer_config.h"
#include "weights/tensor_source.h"

namespace ltxv::gpu_check {

class MadeTransformer : public TensorSource {
 public:
  // The largest tensor is that of adaln_single.linear.
  explicit MadeTransformer(const TransformerConfig& c)
      : numbers_(at::randn({c.width() * std::max(6 * c.width(), c.caption_channels)}, at::kFloat).mul_(0.02).to(at::kBFloat16)) {
    const int64_t d = c.width();
    layer("patchify_proj", c.in_channels, d);
    layer("adaln_single.emb.timestep_embedder.linear_1", 256, d);
    layer("adaln_single.emb.timestep_embedder.linear_2", d, d);
    layer("adaln_single.linear", d, 6 * d);
    layer("caption_projection.linear_1", c.caption_channels, d);
    layer("caption_projection.linear_2", d, d);
    for (int64_t i = 0; i < c.layer_count; ++i) {
      const std::string block = "transformer_blocks." + std::to_string(i) + ".";
      add(block + "scale_shift_table", {6, d});
      for (const char* attention : {"attn1.", "attn2."}) {
        for (const char* part : {"to_q", "to_k", "to_v", "to_out.0"}) layer(block + attention + part, d, d);
        for (const char* norm : {"q_norm.weight", "k_norm.weight"}) add(block + attention + norm, {d});
      }
      layer(block + "ff.net.0.proj", d, 4 * d);
      layer(block + "ff.net.2", 4 * d, d);
    }
    add("scale_shift_table", {2, d});
    layer("proj_out", d, c.out_channels);
    std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  }
  const std::vector<TensorEntry>& entries() const override { return entries_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::string& path() const override { return path_; }

 private:
  void layer(const std::string& name, int64_t in, int64_t out) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void add(const std::string& name, std::vector<int64_t> shape) {
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    LTXV_ASSERT(elements <= numbers_.numel(), name, " has ", elements, " elements");
    entries_.push_back({.name = name, .type = StoredType::bf16, .shape = std::move(shape),
                        .data = static_cast<const std::byte*>(numbers_.const_data_ptr()), .byte_count = static_cast<uint64_t>(2 * elements),
                        .file = path_});
  }

  at::Tensor numbers_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::string path_ = "made";
};

}  // namespace ltxv::gpu_check
