#pragma once
// Parameterised layers shared by the networks. They own tensor handles by value and are const after construction.
#include "base/tensor.h"
#include "quant_linear/quant_linear.h"
#include "weights/parameters.h"

namespace ltxv::nn {

enum class Bias { no, yes };

/// What a layer reads: values, or codes for layers whose weight is codes. Shapes: [..,in].
struct Input {
  at::Tensor values;
  ops::QuantisedRows codes;
  /// Values in `dtype`, of codes if need be.
  at::Tensor as(at::ScalarType dtype) const { return codes.defined() ? ops::widened(codes, dtype) : values; }
};

/// y = x W^T + b. Shapes: weight [out,in], x [..,in] -> [..,out]. A narrow weight is widened a few rows at a time while it is used.
struct Linear {
  Matrix weight;
  at::Tensor bias;
  at::Tensor packed;  ///< what pack() made of the weight, or undefined
  std::shared_ptr<const ops::QuantisedWeight> quantised;  ///< in place of `weight`, or null

  Linear() = default;
  Linear(const Scope& at, int64_t in, int64_t out, Bias with_bias = Bias::yes);
  /// With a weight of codes: those of the file where it has this type, else made of what it holds with its LoRAs added.
  Linear(const Scope& at, int64_t in, int64_t out, std::optional<ops::QuantType> quantisation);
  at::Tensor operator()(const at::Tensor& x) const;
  at::Tensor operator()(const Input& x) const;
  /// gelu(y), the tanh approximation. On CUDA it happens while the product is written.
  at::Tensor with_gelu(const at::Tensor& x) const;
  /// The same for the next layer: as codes where this one's weight is codes.
  Input with_gelu(const Input& x) const;
  at::ScalarType dtype() const { return quantised ? bias.scalar_type() : packed.defined() ? packed.scalar_type() : weight.dtype(); }

  /// Stores a large weight in the order in which this processor's products read it, and drops `weight`. Without it every product puts
  /// the weight into that order for itself, a quarter of its time at 1000 rows of bf16; a weight narrower than f32 is widened first.
  /// Does nothing where no such order is faster: bf16 without bf16 units, f32 without AVX-512; nor for narrow weights under bf16.
  void pack();
};

/// One layer that gives what several of the same input give, side by side, on devices where few large products beat many; the
/// layers' weights must be plain or codes. Shapes: [out_i,in] each -> [sum of out_i,in]. Otherwise, or in the host's memory, no layer.
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
