#pragma once
// Weight matrices, as tensors or as the narrow codes their file holds.
#include <memory>
#include <optional>
#include <vector>

#include "base/tensor.h"
#include "weights/tensor_source.h"
#include "weights/weight_changes.h"

namespace ltxv {

/// A matrix that stays in the (mapped) file as it is stored and is converted to the compute dtype a few rows at a time where it is
/// used: fp8, with or without scales, and the block types of GGUF; bf16 and fp16 under f32, and fp16 and f32 under bf16. Immutable.
class NarrowMatrix {
 public:
  /// What LoRAs add to the weight of this name; added in f32 to the rows in use, before they are rounded to the compute dtype.
  struct Changes {
    std::shared_ptr<const WeightChanges> changes;
    std::string name;
  };

  /// `scales`: f32, one for all or one a row, multiplied in f32 before rounding to `dtype`; undefined: none.
  /// Shapes: entry [R,C]; scales [1] or [R].
  NarrowMatrix(const TensorEntry& entry, std::shared_ptr<const TensorSource> source, at::Tensor scales, at::ScalarType dtype,
               Changes changes = {});

  /// fp8 codes as a tensor, on any device, where they are widened. Shapes: codes [R,C]; scales as above, on the same device.
  NarrowMatrix(at::Tensor codes, at::Tensor scales, at::ScalarType dtype);

  int64_t row_count() const { return codes_.defined() ? codes_.size(0) : entry_.shape[0]; }
  int64_t column_count() const { return codes_.defined() ? codes_.size(1) : entry_.shape[1]; }
  /// Whether rows are widened on a device, all of them at once at no cost worth splitting.
  bool on_device() const { return codes_.defined(); }
  at::ScalarType dtype() const { return dtype_; }

  struct StoredCodes {
    at::Tensor codes, scales;  ///< [R,C]; as in the constructors
  };
  /// The codes as they are stored, in place, if they are of that type and no LoRA changes them. On the host only.
  std::optional<StoredCodes> stored_codes(at::ScalarType type) const;

  /// Gives the memory of mapped codes back until they are read again.
  void let_go() const;

  /// Rows begin … begin + count - 1. Returns [count,C] in dtype(), fresh.
  at::Tensor rows(int64_t begin, int64_t count) const;
  /// The rows of that index. Shapes: index i64 [N] -> [N,C].
  at::Tensor rows(const at::Tensor& index) const;

 private:
  template <class RowOf>
  at::Tensor widened(int64_t count, at::ScalarType dtype, const RowOf& row_of) const;

  at::Tensor widened_codes(const at::Tensor& codes, const at::Tensor& scales) const;

  TensorEntry entry_;
  std::shared_ptr<const TensorSource> source_;
  at::Tensor codes_;  // or undefined: the entry's bytes
  at::Tensor scales_;
  at::ScalarType dtype_;
  Changes changes_;
};

/// All elements of a tensor of any narrow type, f32.
at::Tensor widened(const TensorEntry& entry);

/// A weight matrix in the compute dtype, or as it is stored; exactly one is set.
struct Matrix {
  at::Tensor plain;
  std::shared_ptr<const NarrowMatrix> narrow;

  at::ScalarType dtype() const { return narrow ? narrow->dtype() : plain.scalar_type(); }
};

}  // namespace ltxv
