#include "kernels/sm90/emulated_attention.h"

namespace ltxv::test {

Bf16Tensor::Bf16Tensor(int64_t batch, int64_t rows, int64_t columns, int64_t gap)
    : batch(batch), rows(rows), columns(columns), row_stride(columns + gap), batch_stride(rows * row_stride + gap) {
  elements.assign(static_cast<size_t>(batch * batch_stride), 0x7FC0);
}

AttentionData::AttentionData(const AttentionCase& c, uint64_t seed)
    : q(c.batch, c.q_length, c.heads * c.head_dim, c.gap),
      k(c.batch, c.k_length, c.heads * c.head_dim, c.gap),
      v(c.batch, c.k_length, c.heads * c.head_dim, c.gap),
      out(c.batch, c.q_length, c.heads * c.head_dim, c.gap) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (auto* t : {&q, &k, &v})
    for (int64_t b = 0; b < t->batch; ++b)
      for (int64_t row = 0; row < t->rows; ++row) {
        // Keys and values that do not count stay NaN.
        if (t != &q && !c.key_lengths.empty() && row >= c.key_lengths[static_cast<size_t>(b)]) continue;
        for (int64_t column = 0; column < t->columns; ++column) t->at(b, row, column) = to_bf16(normal(random));
      }
}

void run_attention(const AttentionCase& c, AttentionData& data, const RunOptions& options, const AfterBlock& after) {
  if (c.head_dim == 64)
    run_blocks<ops::gpu::sm90::Plan<64>>(c, data, options, after);
  else
    run_blocks<ops::gpu::sm90::Plan<128>>(c, data, options, after);
}

}  // namespace ltxv::test
