#pragma once
// A latent upsampler as a file, without torch: for tests of the program.
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/temp_folder.h"

namespace ltxv::test {

/// 8 channels (the tiny model's), width 32, one block a stage, and no description: what it enlarges follows from its shapes.
/// Source of the names and shapes: LTX-Video models/autoencoders/latent_upsampler.py.
inline std::string write_small_upsampler(const TempFolder& folder, const std::string& name, bool temporal) {
  nlohmann::json header;
  std::string data;
  const auto add = [&](const std::string& tensor, const std::vector<int64_t>& shape, float scale, float offset = 0) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    const size_t begin = data.size();
    for (int64_t i = 0; i < count; ++i) {
      const float value = offset + scale * std::sin(static_cast<float>(i) * 0.7f + static_cast<float>(tensor.size()));
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header[tensor] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  const auto conv = [&](const std::string& tensor, int64_t in, int64_t out, bool volume = true) {
    add(tensor + ".weight", volume ? std::vector<int64_t>{out, in, 3, 3, 3} : std::vector<int64_t>{out, in, 3, 3}, 0.03f);
    add(tensor + ".bias", {out}, 0.1f);
  };
  const auto norm = [&](const std::string& tensor) {
    add(tensor + ".weight", {32}, 0.2f, 1.0f);
    add(tensor + ".bias", {32}, 0.1f);
  };
  conv("initial_conv", 8, 32);
  norm("initial_norm");
  for (const std::string block : {"res_blocks.0", "post_upsample_res_blocks.0"})
    for (const std::string part : {"1", "2"}) {
      conv(block + ".conv" + part, 32, 32);
      norm(block + ".norm" + part);
    }
  conv("upsampler.0", 32, temporal ? 64 : 128, temporal);
  conv("final_conv", 32, 8);
  const std::string text = header.dump();
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  return folder.write(name, length + text + data);
}

}  // namespace ltxv::test
