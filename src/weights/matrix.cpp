#include "weights/matrix.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"

namespace ltxv {

NarrowMatrix::NarrowMatrix(const TensorEntry& entry, std::shared_ptr<const TensorSource> source, at::Tensor scales,
                           at::ScalarType dtype, Changes changes)
    : entry_(entry), source_(std::move(source)), scales_(std::move(scales)), dtype_(dtype), changes_(std::move(changes)) {
  const bool known = is_narrow_type(entry.type) || is_half_type(entry.type) || entry.type == StoredType::f32;
  LTXV_ASSERT(entry.shape.size() == 2 && known && (dtype == at::kFloat || dtype == at::kBFloat16),
              "a stored matrix of ", stored_type_name(entry.type), " in ", entry.shape.size(), " axes");
}

NarrowMatrix::NarrowMatrix(at::Tensor codes, at::Tensor scales, at::ScalarType dtype)
    : codes_(std::move(codes)), scales_(std::move(scales)), dtype_(dtype) {
  LTXV_ASSERT(codes_.dim() == 2 && (dtype == at::kFloat || dtype == at::kBFloat16), "fp8 codes [R,C] expected");
}

std::optional<NarrowMatrix::StoredCodes> NarrowMatrix::stored_codes(at::ScalarType type) const {
  if (codes_.defined() || changes_.changes || scalar_type(entry_.type) != type) return std::nullopt;
  return StoredCodes{to_tensor(entry_, source_), scales_};
}

void NarrowMatrix::let_go() const {
  if (!codes_.defined() && entry_.mapped) let_go_of_pages(entry_.data, entry_.byte_count);
}

// The product with the scales in f32, as on the host; without them every fp8 value is exact in bf16 too.
at::Tensor NarrowMatrix::widened_codes(const at::Tensor& codes, const at::Tensor& scales) const {
  if (!scales.defined()) return codes.to(dtype_);
  return (codes.to(at::kFloat) * scales.unsqueeze(-1)).to(dtype_);
}

template <class RowOf>
at::Tensor NarrowMatrix::widened(int64_t count, at::ScalarType dtype, const RowOf& row_of) const {
  constexpr int64_t kGrainElements = 1 << 15;
  const int64_t columns = column_count();
  const StoredBlock block = stored_block(entry_.type);
  const int64_t row_bytes = columns / block.elements * block.bytes;
  const float* scales = scales_.defined() ? scales_.const_data_ptr<float>() : nullptr;
  const bool scale_each_row = scales && scales_.numel() > 1;
  at::Tensor out = at::empty({count, columns}, at::TensorOptions().dtype(dtype));
  at::parallel_for(0, count, std::max<int64_t>(1, kGrainElements / std::max<int64_t>(columns, 1)), [&](int64_t begin, int64_t end) {
    std::vector<float> wide(dtype == at::kFloat ? 0 : columns);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = row_of(i);
      float* const to = dtype == at::kFloat ? out.data_ptr<float>() + i * columns : wide.data();
      dequantise(entry_.type, entry_.data + row * row_bytes, columns, to);
      if (scales) {
        const float scale = scales[scale_each_row ? row : 0];
        for (int64_t c = 0; c < columns; ++c) to[c] *= scale;
      }
      if (dtype == at::kFloat) continue;
      at::BFloat16* const narrowed = out.data_ptr<at::BFloat16>() + i * columns;
      for (int64_t c = 0; c < columns; ++c) narrowed[c] = to[c];
    }
  });
  return out;
}

at::Tensor widened(const TensorEntry& entry) {
  at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(at::kFloat));
  dequantise(entry.type, entry.data, out.numel(), out.data_ptr<float>());
  return out;
}

at::Tensor NarrowMatrix::rows(int64_t begin, int64_t count) const {
  LTXV_ASSERT(begin >= 0 && count >= 0 && begin + count <= row_count(), "rows out of range");
  if (codes_.defined())
    return widened_codes(codes_.narrow(0, begin, count),
                         scales_.defined() && scales_.numel() > 1 ? scales_.narrow(0, begin, count) : scales_);
  const auto row_of = [begin](int64_t i) { return begin + i; };
  if (!changes_.changes) return widened(count, dtype_, row_of);
  at::Tensor sum = widened(count, at::kFloat, row_of);
  changes_.changes->add_to_rows(changes_.name, sum, begin);
  return sum.to(dtype_);
}

at::Tensor NarrowMatrix::rows(const at::Tensor& index) const {
  if (codes_.defined())
    // As bytes: not every device picks rows of fp8.
    return widened_codes(codes_.view(at::kByte).index_select(0, index).view(codes_.scalar_type()),
                         scales_.defined() && scales_.numel() > 1 ? scales_.index_select(0, index) : scales_);
  const auto ids = index.contiguous();
  const int64_t* const id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i)
    LTXV_ASSERT(id[i] >= 0 && id[i] < row_count(), "row ", id[i], " out of range");
  if (!changes_.changes) return widened(ids.numel(), dtype_, [id](int64_t i) { return id[i]; });
  std::vector<at::Tensor> picked;
  for (int64_t i = 0; i < ids.numel(); ++i) picked.push_back(rows(id[i], 1));
  return picked.empty() ? at::empty({0, column_count()}, at::TensorOptions().dtype(dtype_)) : at::cat(picked);
}

}  // namespace ltxv
