#include "weights/retype.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

constexpr int64_t kPieceElements = 1 << 22;

// `count` elements as f32, fresh. The bytes may be unaligned.
at::Tensor widened_piece(StoredType type, const std::byte* from, int64_t count) {
  at::Tensor wide = at::empty({count}, at::kFloat);
  if (is_narrow_type(type)) {
    dequantise(type, from, count, wide.data_ptr<float>());
  } else {
    const at::Tensor stored = at::empty({count}, at::TensorOptions().dtype(scalar_type(type)));
    std::memcpy(stored.data_ptr(), from, static_cast<size_t>(count * stored_type_size(type)));
    wide.copy_(stored);
  }
  return wide;
}

// Blocks of 32: an f16 scale, then 32 signed codes.
std::vector<uint8_t> as_q8_0(const at::Tensor& values) {
  constexpr int64_t kElements = 32;
  const float* const from = values.const_data_ptr<float>();
  std::vector<uint8_t> out;
  out.reserve(static_cast<size_t>(values.numel() / kElements * 34));
  for (int64_t block = 0; block < values.numel(); block += kElements) {
    float largest = 0;
    for (int64_t i = 0; i < kElements; ++i) largest = std::max(largest, std::abs(from[block + i]));
    const float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;  // codes are made with the scale before its rounding
    const uint16_t bits = c10::Half(scale).x;
    out.push_back(static_cast<uint8_t>(bits & 0xff));
    out.push_back(static_cast<uint8_t>(bits >> 8));
    for (int64_t i = 0; i < kElements; ++i) out.push_back(static_cast<uint8_t>(static_cast<int8_t>(std::round(from[block + i] * inverse))));
  }
  return out;
}

void write_narrowed(const at::Tensor& wide, const TensorEntry& entry, StoredType type, const ByteSink& sink) {
  const auto refuse_unless_finite = [&](const at::Tensor& t, const char* what) {
    LTXV_REQUIRE(NumericError, at::isfinite(t).all().item<bool>(), printable(entry.file), ": tensor '", printable(entry.name), "' holds ", what,
                 stored_type_name(type));
  };
  refuse_unless_finite(wide, "NaN or Inf and cannot become ");
  if (type == StoredType::q8_0) {
    const auto bytes = as_q8_0(wide);
    return sink(bytes.data(), bytes.size());
  }
  const at::Tensor out = wide.to(scalar_type(type)).contiguous();
  refuse_unless_finite(out.to(at::kFloat), "values too large for ");
  sink(out.const_data_ptr(), out.nbytes());
}

}  // namespace

void write_as(const TensorEntry& entry, const at::Tensor& factors, StoredType type, const ByteSink& sink) {
  const auto let_go = [&](const std::byte* from, uint64_t bytes) {
    if (entry.mapped) let_go_of_pages(from, bytes);
  };
  if (type == entry.type && !factors.defined()) {
    constexpr uint64_t kPieceBytes = 64 << 20;
    for (uint64_t at = 0; at < entry.byte_count; at += kPieceBytes) {
      const uint64_t count = std::min(kPieceBytes, entry.byte_count - at);
      sink(entry.data + at, count);
      let_go(entry.data + at, count);
    }
    return;
  }
  constexpr StoredType kTargets[] = {StoredType::f32, StoredType::f16, StoredType::bf16, StoredType::f8_e4m3, StoredType::q8_0};
  LTXV_CHECK(std::find(std::begin(kTargets), std::end(kTargets), type) != std::end(kTargets), "tensor '", printable(entry.name),
             "' is not written as ", stored_type_name(type));
  const StoredBlock block = stored_block(entry.type);
  int64_t count = 1;
  for (const int64_t size : entry.shape) count *= size;
  if (count == 0) return;
  const int64_t rows = entry.shape.empty() ? 1 : entry.shape[0], row = count / rows;
  LTXV_CHECK(!factors.defined() || factors.numel() == 1 || factors.numel() == rows, "tensor '", printable(entry.name), "' has ", rows,
             " rows and ", factors.numel(), " scales");
  const int64_t rows_at_once = std::max<int64_t>(1, kPieceElements / row);
  for (int64_t begin = 0; begin < rows; begin += rows_at_once) {
    const int64_t here = std::min(rows_at_once, rows - begin);
    const std::byte* const from = entry.data + begin * row / block.elements * block.bytes;
    at::Tensor wide = widened_piece(entry.type, from, here * row);
    if (factors.defined()) {
      const at::Tensor own = factors.numel() == 1 ? factors.view({1, 1}) : factors.narrow(0, begin, here).view({here, 1});
      wide = (wide.view({here, row}) * own).flatten();
    }
    write_narrowed(wide, entry, type, sink);
    let_go(from, static_cast<uint64_t>(here * row / block.elements * block.bytes));
  }
}

}  // namespace ltxv
