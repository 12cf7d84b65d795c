#pragma once
// What the copy engine is told of a tensor: plain numbers, made here and tested on the host, handed to the driver by
// the launcher.
#include "attention/sm90/plan.h"

namespace ltxv::ops::gpu::sm90 {

/// A tensor [batch, rows, heads * head_dim] of bf16 as four axes, the fastest first: 64 columns of a chunk, chunks,
/// rows, batch. One copy brings some rows of one chunk, each row 128 bytes, swizzled. A copy of all
/// chunks of a head at once would need rows before chunks, while cuda.h makes every stride a multiple of the one
/// before.
struct TensorMap {
  const void* data;
  uint64_t sizes[4];    ///< elements along each axis
  uint64_t strides[3];  ///< bytes between neighbours along axes 1, 2, 3
  uint32_t box[4];      ///< elements of one copy along each axis
};

struct TensorLayout {
  const void* data;
  int64_t batch, rows, columns;      ///< columns = heads * head_dim
  int64_t batch_stride, row_stride;  ///< in elements
};

/// Boxes of `box_rows` rows. With one batch the stride between batches is not used by anyone but checked by the driver,
/// so it is made valid.
constexpr TensorMap tensor_map(const TensorLayout& t, int box_rows) {
  const auto bytes = [](int64_t elements) { return static_cast<uint64_t>(elements) * kElementBytes; };
  const int64_t batch_stride = t.batch > 1 ? t.batch_stride : t.row_stride;
  return {t.data,
          {kChunkColumns, static_cast<uint64_t>(t.columns / kChunkColumns), static_cast<uint64_t>(t.rows),
           static_cast<uint64_t>(t.batch)},
          {kRowBytes, bytes(t.row_stride), bytes(batch_stride)},
          {kChunkColumns, 1, static_cast<uint32_t>(box_rows), 1}};
}

/// Whether the copy engine takes the tensor: address and strides multiples of 16 bytes, strides below 2^40, sizes below
/// 2^32. Source: CUDA driver API, cuTensorMapEncodeTiled.
constexpr bool copyable(const TensorLayout& t, uint64_t address) {
  const auto fits = [](int64_t stride) { return stride > 0 && stride % 8 == 0 && stride < int64_t{1} << 39; };
  return address % 16 == 0 && t.columns % kChunkColumns == 0 && fits(t.row_stride) && t.row_stride >= t.columns &&
         (t.batch == 1 || fits(t.batch_stride)) && t.rows > 0 && t.rows < int64_t{1} << 31 && t.batch > 0;
}

}  // namespace ltxv::ops::gpu::sm90
