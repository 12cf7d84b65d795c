#include "transformer/rope.h"

#include <numbers>

#include "base/error.h"

namespace ltxv {
namespace {

void check(const at::Tensor& positions) {
  LTXV_CHECK(positions.dim() == 2 && positions.size(0) == 3 && positions.scalar_type() == at::kFloat,
             "rope: positions f32 [3,N] expected, got ", positions.sizes());
}

// Positions of one axis -> [.., K].
at::Tensor angles(const at::Tensor& positions, int64_t axis, const TransformerConfig& config) {
  const int64_t frequency_count = config.width() / 6;
  const auto frequencies = at::pow(config.rope_theta, at::linspace(0.0, 1.0, frequency_count, positions.options())) * (std::numbers::pi / 2.0);
  const auto fractions = positions / config.rope_max_position[static_cast<size_t>(axis)];  // in [0,1)
  return frequencies * (fractions.unsqueeze(-1) * 2 - 1);
}

}  // namespace

RopeTable make_rope_table(const at::Tensor& positions, const TransformerConfig& config) {
  check(positions);
  const auto f32 = at::TensorOptions().dtype(at::kFloat);
  std::vector<at::Tensor> axes;
  for (int64_t axis = 0; axis < 3; ++axis) axes.push_back(angles(positions[axis], axis, config));
  const auto all = at::stack(axes, -1).flatten(1);  // [N,K,3] -> [N,3K]: frequency slowest, axis fastest

  // D mod 6 channels are left over; they stand in front and are not rotated. D is even, so they are whole pairs.
  const int64_t fixed_pairs = config.width() / 2 - all.size(1), tokens = positions.size(1);
  return {at::cat({at::ones({tokens, fixed_pairs}, f32), all.cos()}, 1).contiguous(),
          at::cat({at::zeros({tokens, fixed_pairs}, f32), all.sin()}, 1).contiguous(),
          {}};
}

RopeTable make_separable_rope_table(const at::Tensor& positions, const TransformerConfig& config) {
  check(positions);
  std::vector<at::Tensor> tables, rows;
  int64_t row_count = 0;
  for (int64_t axis = 0; axis < 3; ++axis) {
    auto [values, index, counts] = at::_unique2(positions[axis], /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/false);
    tables.push_back(angles(values, axis, config));
    rows.push_back(index + row_count);
    row_count += values.size(0);
  }
  const auto all = at::cat(tables);
  return {all.cos(), all.sin(), at::stack(rows, -1).to(at::kInt).contiguous()};
}

}  // namespace ltxv
