// Ops of the transformer: norms, gates, rotary positions, attention.
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "adaln/adaln.h"
#include "attention/attention.h"
#include "base/error.h"
#include "gelu/gelu.h"
#include "guided_step/guided_step.h"
#include "kernels/measures.h"
#include "qk_norm_rope/qk_norm_rope.h"

namespace ltxv::test {
namespace {

// Odd widths (not a multiple of a vector register), one token, several rows of batch, and the released width.
struct Case {
  int64_t batch, tokens, width;
  bool per_token;  // a table row a token instead of one for all
};
constexpr Case kCases[] = {{1, 1, 16, false}, {1, 7, 20, false},  {2, 5, 34, true},    {1, 1, 2, true},
                           {1, 3, 18, true},  {2, 33, 62, false}, {1, 40, 2048, true}, {3, 11, 128, true},
                           {1, 4, 17, true},  {1, 6, 1, false}};

struct Draw {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(5);
  at::Tensor operator()(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat)).to(dtype);
  }
};

at::Tensor f64(const at::Tensor& t) { return t.to(at::kDouble); }

at::Tensor normed(const at::Tensor& x, double eps) { return x * at::rsqrt(x.pow(2).mean(-1, true) + eps); }

// Tables of U rows cut out of a wider tensor, as the transformer passes them: rows are 3 * width apart.
struct Tables {
  at::Tensor first, second;
  ops::TokenRows rows;
  Tables(Draw& draw, const Case& c) {
    const int64_t levels = c.per_token ? 3 : 1;
    const auto all = draw({levels, 3, c.width});
    first = all.select(1, 0), second = all.select(1, 2);
    if (c.per_token) rows.index = (at::arange(c.tokens, at::kLong) * 7 + 1).remainder(levels).contiguous();
  }
  at::Tensor of(const at::Tensor& table) const {
    return rows.index.defined() ? table.index_select(0, rows.index) : table;
  }
};

double largest(const at::Tensor& actual, const at::Tensor& expected) {
  return (f64(actual) - expected).abs().max().item<double>();
}

double rms_norm_modulate_error(const Case& c, at::ScalarType dtype) {
  Draw draw;
  const auto x = draw({c.batch, c.tokens, c.width}, dtype);
  const Tables t(draw, c);
  const auto expected = normed(f64(x), 1e-6) * (f64(t.of(t.first)) + 1) + f64(t.of(t.second));
  return largest(ops::rms_norm_modulate(x, t.first, t.second, t.rows, 1e-6), expected);
}

double add_gated_error(const Case& c, at::ScalarType dtype) {
  Draw draw;
  auto x = draw({c.batch, c.tokens, c.width}, dtype);
  const auto y = draw({c.batch, c.tokens, c.width}, dtype);
  const Tables t(draw, c);
  const auto gated = f64(x) + f64(y) * f64(t.of(t.first)), summed = f64(x) + f64(y);
  auto plain = x.clone();
  ops::add_gated_(x, y, t.first, t.rows);
  ops::add_gated_(plain, y, {}, {});
  return std::max(largest(x, gated), largest(plain, summed));
}

double gated_norm_modulate_error(const Case& c, at::ScalarType dtype) {
  Draw draw;
  double error = 0;
  for (const bool gated : {true, false}) {
    auto x = draw({c.batch, c.tokens, c.width}, dtype);
    const auto y = draw({c.batch, c.tokens, c.width}, dtype);
    const Tables t(draw, c);
    const auto sum = f64(x) + (gated ? f64(y) * f64(t.of(t.second)) : f64(y));
    const auto out = ops::gated_norm_modulate_(x, y, gated ? t.second : at::Tensor(), t.first, t.second, t.rows, 1e-6);
    // The norm is of the sum as it was stored.
    const auto expected = normed(f64(x), 1e-6) * (f64(t.of(t.first)) + 1) + f64(t.of(t.second));
    error = std::max({error, largest(x, sum), largest(out, expected)});
  }
  return error;
}

// Guidance and step written out, as LTX-Video's pipeline and scheduler have them.
double guided_step_error(const Case& c, at::ScalarType dtype) {
  Draw draw;
  const std::vector<int64_t> shape = {1, c.batch * c.tokens, c.width};
  double error = 0;
  for (const bool rescaled : {false, true}) {
    if (rescaled && shape[1] * shape[2] < 8) continue;  // the deviation of a few values is mostly chance
    const auto p = draw(shape, dtype), n = draw(shape, dtype), q = draw(shape, dtype), steps = draw({shape[1]});
    auto tokens = draw(shape);
    const auto dp = f64(p), dn = f64(n);
    const auto base = dn * ((dp * dn).sum() / ((dn * dn).sum() + 1e-8));
    auto v = base + 3.0 * (dp - base);
    if (rescaled) v = v * (0.75 * dp.std() / v.std() + 0.25);
    v = v + 2.0 * (dp - f64(q));
    if (rescaled) v = v * (0.5 * dp.std() / v.std() + 0.5);
    const auto step = c.per_token ? f64(steps).unsqueeze(-1) : at::full({1, 1}, -0.125, at::kDouble);
    const auto expected = f64(tokens) + step * v;
    const ops::GuidanceTerms terms{.positive = p, .negative = n, .perturbed = q, .scale = 3, .cfg_rescale = rescaled ? 0.75 : 0,
                                   .stg_scale = 2, .stg_rescale = rescaled ? 0.5 : 1, .cfg_star = true};
    ops::guided_step_(tokens, terms, -0.125, c.per_token ? steps : at::Tensor());
    error = std::max(error, largest(tokens, expected));
  }
  return error;
}

// Pairs of channels and two heads need an even width.
Case even(Case c) { return c.width += c.width % 2, c; }

double qk_norm_rope_error(const Case& odd_or_even, at::ScalarType dtype) {
  const Case c = even(odd_or_even);
  Draw draw;
  auto x = draw({c.batch, c.tokens, c.width}, dtype);
  const auto weight = draw({c.width}, dtype), angles = draw({c.tokens, c.width / 2});
  const auto cos = angles.cos(), sin = angles.sin();
  const auto norm = normed(f64(x), 1e-5) * f64(weight);
  const auto pairs = norm.unflatten(-1, {-1, 2});
  const auto a = pairs.select(-1, 0), b = pairs.select(-1, 1);
  const auto turned = at::stack({a * f64(cos) - b * f64(sin), b * f64(cos) + a * f64(sin)}, -1).flatten(-2);
  auto plain = x.clone();
  ops::qk_norm_rope_(x, weight, {cos, sin, {}}, 1e-5);
  ops::qk_norm_rope_(plain, weight, {}, 1e-5);
  return std::max(largest(x, turned), largest(plain, norm));
}

// Widths of the heads and lengths that fill no tile, more keys than one chunk and more queries than one unit of the AMX kernel.
struct AttentionCase {
  int64_t batch, heads, width, queries, keys;
};
constexpr AttentionCase kAttentionCases[] = {{1, 2, 8, 1, 1},      {1, 2, 10, 7, 9},     {2, 2, 17, 5, 5},    {1, 1, 1, 3, 1},       {2, 2, 31, 33, 9},
                                             {1, 2, 1024, 40, 40}, {3, 2, 64, 11, 11},   {1, 2, 32, 1, 1},    {2, 3, 64, 17, 33},    {1, 1, 64, 300, 70},
                                             {1, 2, 64, 16, 2081}, {1, 2, 96, 31, 64},   {2, 1, 128, 47, 95}, {1, 1, 128, 257, 32},  {1, 1, 32, 12, 4100}};

double attention_error(const AttentionCase& c, at::ScalarType dtype) {
  Draw draw;
  const int64_t inner = c.heads * c.width;
  // Rows cut out of a wider tensor, as a joined product of queries, keys and values has them.
  const auto q = draw({c.batch, c.queries, 3 * inner}, dtype).narrow(2, inner, inner), k = draw({c.batch, c.keys, inner}, dtype),
             v = draw({c.batch, c.keys, 2 * inner}, dtype).narrow(2, 0, inner);
  const auto split = [&](const at::Tensor& t) { return f64(t).reshape({c.batch, t.size(1), c.heads, -1}).transpose(1, 2); };
  const double scale = 1 / std::sqrt(static_cast<double>(c.width));
  const auto weights = at::softmax(at::matmul(split(q), split(k).transpose(-1, -2)) * scale, -1);
  return largest(ops::attention(q, k, v, c.heads), at::matmul(weights, split(v)).transpose(1, 2).flatten(2));
}

Errors attention_errors() {
  Errors errors;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const AttentionCase& c : kAttentionCases) {
      const std::string name = text(dtype == at::kFloat ? "f32" : "bf16", "_[", c.batch, ",", c.heads, ",", c.width, "]_", c.queries, "_", c.keys);
      add_case(errors, name, [&] { return attention_error(c, dtype); });
    }
  return errors;
}

double gelu_tanh_error(const Case& c, at::ScalarType dtype) {
  Draw draw;
  // Small, usual and saturated arguments.
  auto x = (draw({c.batch, c.tokens, c.width}) * at::pow(10.0, draw({c.batch, c.tokens, 1}))).clamp(-20, 20).to(dtype);
  const auto d = f64(x);
  const double k = std::sqrt(2 / 3.14159265358979323846);
  const auto expected = 0.5 * d * (1 + at::tanh(k * (d + 0.044715 * d.pow(3))));
  ops::gelu_tanh_(x);
  return largest(x, expected);
}

}  // namespace

Errors row_op_errors(std::string_view op) {
  const auto measure = op == "rms_norm_modulate" ? rms_norm_modulate_error
                       : op == "add_gated"       ? add_gated_error
                       : op == "gated_norm_modulate" ? gated_norm_modulate_error
                       : op == "guided_step"     ? guided_step_error
                       : op == "qk_norm_rope"    ? qk_norm_rope_error
                                                 : gelu_tanh_error;
  Errors errors;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const Case& c : kCases)
      errors[text(dtype == at::kFloat ? "f32" : "bf16", "_[", c.batch, ",", c.tokens, ",", c.width, "]_",
                  c.per_token ? "per_token" : "one_row")] = measure(c, dtype);
  return errors;
}

const std::map<std::string_view, Measure>& measures() {
  static const std::map<std::string_view, Measure> table = {
      {"rms_norm_modulate", [] { return row_op_errors("rms_norm_modulate"); }},
      {"add_gated", [] { return row_op_errors("add_gated"); }},
      {"gated_norm_modulate", [] { return row_op_errors("gated_norm_modulate"); }},
      {"guided_step", [] { return row_op_errors("guided_step"); }},
      {"qk_norm_rope", [] { return row_op_errors("qk_norm_rope"); }},
      {"attention", attention_errors},
      {"gelu_tanh", [] { return row_op_errors("gelu_tanh"); }},
      {"vae_norm", vae_norm_errors},
      {"depth_to_space", depth_to_space_errors},
      {"conv3d", conv3d_errors},
      {"quantise_rows", quantise_rows_errors},
      {"norm_quantise", norm_quantise_errors},
      {"quant_linear", quant_linear_errors},
      {"attention_int8", attention_int8_errors},
  };
  return table;
}

}  // namespace ltxv::test
