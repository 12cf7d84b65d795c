#pragma once
// Parameterised layers shared by the networks. They own tensor handles by value and are const after construction.
#include "base/tensor.h"
#include "weights/parameters.h"

namespace ltxv::nn {

enum class Bias { no, yes };

/// y = x W^T + b. Shapes: weight [out,in], x [..,in] -> [..,out]. A narrow weight is widened a few rows at a time while it is used.
struct Linear {
  Matrix weight;
  at::Tensor bias;
  at::Tensor packed;  ///< what pack() made of the weight, or undefined

  Linear() = default;
  Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias = Bias::yes);
  at::Tensor operator()(const at::Tensor& x) const;
  /// gelu(y), the tanh approximation. On CUDA it happens while the product is written.
  at::Tensor with_gelu(const at::Tensor& x) const;
  at::ScalarType dtype() const { return packed.defined() ? at::kBFloat16 : weight.dtype(); }

  /// Stores a large bf16 weight in the order in which this processor's matrix units read it, and drops `weight`. Without it every
  /// product puts the weight into that order for itself, a quarter of its time at 1000 rows.
  /// Does nothing where there are no such units, and for narrow weights.
  void pack();
};

/// One layer that gives what several of the same input give, side by side, on devices where few large products beat many; the
/// layers' weights must be plain. Shapes: [out_i,in] each -> [sum of out_i,in]. Otherwise, or in the host's memory, no layer.
Linear joined(std::initializer_list<const Linear*> layers);

/// Rows of a table. Shapes: table [count,width], ids i64 [N] -> [N,width].
struct Embedding {
  Matrix table;

  Embedding() = default;
  /// `name` is the table's own name under `at`.
  Embedding(const Scope& at, const std::string& name, int64_t count, int64_t width);
  at::Tensor operator()(const at::Tensor& ids) const;
  at::ScalarType dtype() const { return table.dtype(); }
};

}  // namespace ltxv::nn
