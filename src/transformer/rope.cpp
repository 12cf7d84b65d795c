#include "transformer/rope.h"

#include <numbers>

#include "base/error.h"

namespace ltxv {

RopeTable make_rope_table(const at::Tensor& positions, const TransformerConfig& config) {
  LTXV_CHECK(positions.dim() == 2 && positions.size(0) == 3 && positions.scalar_type() == at::kFloat,
             "rope: positions f32 [3,N] expected, got ", positions.sizes());
  const int64_t width = config.width(), frequency_count = width / 6;
  const auto f32 = at::TensorOptions().dtype(at::kFloat);

  std::vector<at::Tensor> fractions;
  for (int64_t axis = 0; axis < 3; ++axis) fractions.push_back(positions[axis] / config.rope_max_position[axis]);
  const auto grid = at::stack(fractions, -1);  // [N,3] in [0,1)

  const auto frequencies =
      at::pow(config.rope_theta, at::linspace(0.0, 1.0, frequency_count, f32)) * (std::numbers::pi / 2.0);  // [K]
  // [N,3,1] x [K] -> [N,3,K] -> [N,K,3]: frequency slowest, axis fastest.
  const auto angles = (frequencies * (grid.unsqueeze(-1) * 2 - 1)).transpose(-1, -2).flatten(1);  // [N,3K]

  // D mod 6 channels are left over; they stand in front and are not rotated. D is even, so they are whole pairs.
  const int64_t fixed_pairs = (width - frequency_count * 6) / 2;
  const int64_t tokens = positions.size(1);
  return {at::cat({at::ones({tokens, fixed_pairs}, f32), angles.cos()}, 1).contiguous(),
          at::cat({at::zeros({tokens, fixed_pairs}, f32), angles.sin()}, 1).contiguous()};
}

}  // namespace ltxv
