// Ops on eight-bit codes. Codes are compared by how far a value is from what its code stands for, in units of what rounding to the
// nearest code may cost; products with the f64 product of the same codes.
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "adaln/adaln.h"
#include "attention_int8/attention_int8.h"
#include "base/error.h"
#include "kernels/measures.h"
#include "quant_linear/quant_linear.h"

namespace ltxv::test {
namespace {

using ops::QuantType;

struct Draw {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(9);
  at::Tensor operator()(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat)).to(dtype);
  }
};

at::Tensor f64(const at::Tensor& t) { return t.to(at::kDouble); }

at::Tensor exact(const ops::QuantisedRows& rows) {
  auto per_row = rows.codes.sizes().vec();
  per_row.back() = 1;
  return f64(rows.codes.to(at::kFloat)) * f64(rows.scales).view(per_row);
}

at::Tensor gelu_of(const at::Tensor& d) { return 0.5 * d * (1 + at::tanh(std::sqrt(2 / 3.14159265358979323846) * (d + 0.044715 * d.pow(3)))); }

// By how much the worst element is further from its code than half a step: 0 where every code is the nearest one. Steps: int8 the row's
// largest / 127; e4m3 an eighth of the value's power of two, 448 / 2^15 of the largest at the least.
double beyond_nearest(const ops::QuantisedRows& rows, const at::Tensor& expected, QuantType type) {
  const auto largest = expected.abs().amax(-1, true).clamp_min(1e-30);  // rows of zeros
  const auto binade = at::pow(2.0, at::floor(at::log2((expected.abs() / largest * 448).clamp_min(std::ldexp(1, -6))))) * largest / 448;
  const auto half_step = type == QuantType::int8 ? largest / 254 : binade / 16;
  const auto off = (exact(rows) - expected).abs() / half_step.clamp_min(1e-30) - 1;
  // Where a value lies in the middle of two codes, its own rounding to f32, 2^-23 of at most 254 half steps, decides.
  constexpr double kTie = 1e-4;
  return std::max(0.0, off.max().item<double>() - kTie);
}

struct Shape {
  int64_t batch, tokens, width;
};
constexpr Shape kShapes[] = {{1, 1, 16}, {1, 7, 20}, {2, 5, 34}, {1, 3, 18}, {2, 33, 62}, {1, 9, 2048}, {3, 11, 128}, {1, 4, 17}};

template <class Error>
Errors over_shapes(const Error& error) {
  Errors errors;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto type : {QuantType::int8, QuantType::fp8})
      for (const Shape& s : kShapes) {
        const auto name = text(dtype == at::kFloat ? "f32" : "bf16", "_", type == QuantType::int8 ? "int8" : "fp8", "_[", s.batch, ",", s.tokens, ",",
                               s.width, "]");
        try {
          errors[name] = error(s, dtype, type);
        } catch (const InvalidArgument&) {  // a variant for one of the types
          errors.erase(name);
        }
      }
  return errors;
}

}  // namespace

Errors quantise_rows_errors() {
  return over_shapes([](const Shape& s, at::ScalarType dtype, QuantType type) {
    Draw draw;
    // Rows of very different size, one of zeros.
    auto x = draw({s.batch, s.tokens, s.width}) * at::pow(10.0, draw({s.batch, s.tokens, 1}));
    if (s.tokens > 1) x.select(1, 1).zero_();
    x = x.to(dtype);
    // The last f32 digits of a GELU are steps of their own size beside a large value: an even scale of rows there.
    const auto y = draw({s.batch, s.tokens, s.width}, dtype);
    return std::max(beyond_nearest(ops::quantise_rows(x, type), f64(x), type), beyond_nearest(ops::gelu_quantise_rows(y, type), gelu_of(f64(y)), type));
  });
}

Errors norm_quantise_errors() {
  return over_shapes([](const Shape& s, at::ScalarType dtype, QuantType type) {
    Draw draw;
    const auto x = draw({s.batch, s.tokens, s.width}, dtype), y = draw({s.batch, s.tokens, s.width}, dtype);
    const auto tables = draw({3, 3, s.width});
    const ops::TokenRows rows{(at::arange(s.tokens, at::kLong) * 7 + 1).remainder(3).contiguous()};
    const auto of = [&](int64_t entry) { return f64(tables.select(1, entry).index_select(0, rows.index)); };
    double error = 0;
    for (const bool update : {false, true}) {
      auto stream = x.clone();
      const auto out = ops::gated_norm_quantise_(stream, update ? y : at::Tensor(), update ? tables.select(1, 0) : at::Tensor(), tables.select(1, 1),
                                                 tables.select(1, 2), rows, 1e-6, type);
      const auto sum = update ? f64(x) + f64(y) * of(0) : f64(x);
      // The sum is stored and rounded; the norm is of what was stored.
      const double rounding = dtype == at::kFloat ? 1e-6 : 0.0625;
      if ((f64(stream) - sum).abs().max().item<double>() > rounding) return 1.0;
      const auto d = f64(stream);
      const auto normed = d * at::rsqrt(d.pow(2).mean(-1, true) + 1e-6) * (of(1) + 1) + of(2);
      error = std::max(error, beyond_nearest(out, normed, type));
    }
    return error;
  });
}

Errors quant_linear_errors() {
  return over_shapes([](const Shape& s, at::ScalarType dtype, QuantType type) {
    Draw draw;
    double error = 0;
    for (const int64_t out : {int64_t{16}, int64_t{50}}) {
      const auto x = ops::quantise_rows(draw({s.batch, s.tokens, s.width}), type);
      const auto w = ops::quantise_rows(draw({out, s.width}) / std::sqrt(static_cast<double>(s.width)), type);
      const auto bias = draw({out}, dtype);
      const auto product = at::matmul(exact(x), exact(w).t());
      const auto weight = ops::quantised_weight(w.codes, w.scales, type);
      const auto plain = ops::quant_linear(x, weight, {}, dtype), with_bias = ops::quant_linear(x, weight, bias, dtype);
      error = std::max({error, (f64(plain) - product).abs().max().item<double>(), (f64(with_bias) - product - f64(bias)).abs().max().item<double>()});
      // Codes of codes: off by as much as the product is, measured in half steps of the largest value. Only f32 is that close.
      if (dtype == at::kFloat)
        error = std::max(error, beyond_nearest(ops::quant_linear_gelu(x, weight, bias, dtype), gelu_of(product + f64(bias)), type) / 100);
    }
    return error;
  });
}

namespace {

at::Tensor nearest_e4m3(const at::Tensor& d) {
  const auto step = at::pow(2.0, at::floor(at::log2(d.abs().clamp_min(std::ldexp(1, -6)))) - 3);
  return at::round(d / step) * step;
}

// By how much the worst element is beyond what rounding the weights to e4m3 may cost (1/16 of each, or 2^-18 of the largest), a code in the
// middle of two (a few thousandths), and one rounding to the dtype.
double attention_int8_error(const Shape& s, at::ScalarType dtype) {
  Draw draw;
  const int64_t heads = 2, width = (s.width + 1) / 2 * 2;
  double error = 0;
  for (const int64_t keys : {s.tokens, int64_t{1}, int64_t{150}}) {
    const auto q = draw({s.batch, s.tokens, width}, dtype), v = draw({s.batch, keys, width}, dtype);
    // Keys share an offset, as real ones do; one scale for each would drown their differences.
    const auto k = (draw({s.batch, keys, width}) + 20 * draw({1, 1, width})).to(dtype);
    const auto split = [&](const at::Tensor& t) { return f64(t).view({s.batch, t.size(1), heads, -1}).transpose(1, 2); };
    const auto coded = [](const at::Tensor& x, at::IntArrayRef axes) {
      const auto largest = x.abs().amax(axes, true).clamp_min(1e-12);
      return at::round(x * 127 / largest) * largest / 127;
    };
    const auto qc = coded(split(q), {-1});
    std::vector<at::Tensor> tiles;
    for (const auto& tile : (split(k) - split(k).mean(2, true)).split(64, 2)) tiles.push_back(coded(tile, {-2, -1}));
    const auto largest = split(v).abs().amax(2, true).clamp_min(1e-12);
    const auto vc = nearest_e4m3(split(v) * 448 / largest) * largest / 448;
    const auto p = at::softmax(at::matmul(qc, at::cat(tiles, 2).transpose(-1, -2)) / std::sqrt(static_cast<double>(width / heads)), -1);
    const auto merged = [&](const at::Tensor& t) { return t.transpose(1, 2).flatten(2); };
    const auto formula = merged(at::matmul(p, vc)), absolute = merged(at::matmul(p, vc.abs()));
    const double rounding = dtype == at::kFloat ? 1e-5 : 1.0 / 256;
    const auto allowed = absolute * (1.0 / 16 + 0.01) + formula.abs() * rounding +
                         merged(largest.expand({-1, -1, s.tokens, -1})) * (static_cast<double>(keys) * std::ldexp(1, -18)) + 1e-6;
    error = std::max(error, ((f64(ops::attention_int8(q, k, v, heads)) - formula).abs() / allowed).max().item<double>() - 1);
  }
  return std::max(error, 0.0);
}

}  // namespace

Errors attention_int8_errors() {
  Errors errors;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const Shape& s : kShapes)
      errors[text(dtype == at::kFloat ? "f32" : "bf16", "_[", s.batch, ",", s.tokens, ",", s.width, "]")] = attention_int8_error(s, dtype);
  return errors;
}

}  // namespace ltxv::test
