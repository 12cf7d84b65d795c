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

  Linear() = default;
  Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias = Bias::yes);
  at::Tensor operator()(const at::Tensor& x) const;
  at::ScalarType dtype() const { return weight.dtype(); }
};

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
