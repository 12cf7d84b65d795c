// Cases of the kernels that make eight-bit codes or multiply them. Codes are checked as the values they stand for, next to those of f64
// rounded to the nearest code on the host.
#include <cmath>

#include "attention_int8/layout.h"
#include "base/error.h"
#include "gpu/case_values.h"
#include "gpu/kernel_cases.h"

namespace ltxv::gpu_check {
namespace {

using namespace ops::gpu;

// Of values next to the middle of two codes f32 may find the other: an eighth of the value, for one in some thousands.
constexpr double kCodesTolerance = 1e-2;

void poison_codes(const at::Tensor& t) { t.fill_(0x7f); }  // NaN of e4m3

at::Tensor decoded(const at::Tensor& bytes, const at::Tensor& scales) {
  return bytes.to(at::kCPU).view(at::kFloat8_e4m3fn).to(at::kDouble) * scales.to(at::kCPU).to(at::kDouble).unsqueeze(-1);
}
at::Tensor nearest_codes(const at::Tensor& values) {
  const auto y = values.to(at::kCPU), largest = y.abs().amax(-1, true).clamp_min(1e-30);
  return (y * (448 / largest)).to(at::kFloat).to(at::kFloat8_e4m3fn).to(at::kDouble) * largest / 448;
}
at::Tensor gelu_of(const at::Tensor& d) { return 0.5 * d * (1 + at::tanh(std::sqrt(2 / 3.14159265358979323846) * (d + 0.044715 * d.pow(3)))); }

}  // namespace

void add_quantise_rows(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  auto shapes = row_shapes(sizes);
  shapes.insert(shapes.end(), {{1, 3, 8200}, {1, 2, 16384}});
  if (sizes == Sizes::usual) shapes.insert(shapes.end(), {{2, 6144, 8192}, {1, 6144, 16384}});
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const RowShape& s : shapes)
      for (const bool with_gelu : {false, true}) {
        const int64_t rows = s.batch * s.tokens;
        const at::Tensor x = draw({rows, s.width}, dtype), codes = at::empty({rows, s.width}, x.options().dtype(at::kByte)),
                         scales = at::empty({rows}, x.options().dtype(at::kFloat));
        const QuantiseRowsLaunch launch{element(dtype), x.const_data_ptr(), codes.mutable_data_ptr(), scales.mutable_data_ptr<float>(), i32(rows),
                                        i32(s.width), with_gelu, launch_stream()};
        Case c{.op = "quantise_rows", .variant = "cuda", .name = text(name_of(dtype), "_", s.batch, "x", s.tokens, "x", s.width, with_gelu ? "_gelu" : ""),
               .tolerance = kCodesTolerance};
        c.reset = [codes, scales] { poison_codes(codes), poison(scales); };
        c.launch = [launch, &table, x] { return table.quantise_rows(&launch); };
        c.outputs = {codes, scales};
        c.values = [](const std::vector<at::Tensor>& out) { return std::vector<at::Tensor>{decoded(out[0], out[1])}; };
        c.expected = [=] { return std::vector<at::Tensor>{nearest_codes(with_gelu ? gelu_of(f64(x)) : f64(x))}; };
        cases.push_back(std::move(c));
      }
}

void add_norm_quantise(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const RowShape& s : row_shapes(sizes))
      for (const bool update : {false, true}) {
        const at::Tensor start = draw({s.batch, s.tokens, s.width}, dtype), x = at::empty_like(start), y = draw(start.sizes(), dtype);
        const at::Tensor codes = at::empty(start.sizes(), x.options().dtype(at::kByte)), scales = at::empty({s.batch, s.tokens}, x.options().dtype(at::kFloat));
        const at::Tensor tables = draw({3, 3, s.width}), index = (at::arange(s.tokens, at::kLong) * 7 + 1).remainder(3).to(at::kCUDA);
        const auto entry = [&](int64_t i) { return tables.select(1, i).const_data_ptr<float>(); };
        const NormModulateLaunch launch{element(dtype), Element::e4m3, x.mutable_data_ptr(), update ? y.const_data_ptr() : nullptr,
                                        update ? entry(2) : nullptr, codes.mutable_data_ptr(), scales.mutable_data_ptr<float>(), entry(0), entry(1),
                                        3 * s.width, index.const_data_ptr<int64_t>(), i32(s.batch * s.tokens), i32(s.tokens), i32(s.width), 1e-6f,
                                        launch_stream()};
        Case c{.op = "norm_quantise", .variant = "cuda", .name = text(name_of(dtype), "_", s.batch, "x", s.tokens, "x", s.width, update ? "_update" : ""),
               .tolerance = kCodesTolerance};
        c.reset = [=] { x.copy_(start), poison_codes(codes), poison(scales); };
        c.launch = [launch, &table, tables, index, y] { return table.norm_modulate(&launch); };
        c.outputs = {codes, scales, x};
        c.values = [](const std::vector<at::Tensor>& out) { return std::vector<at::Tensor>{decoded(out[0], out[1]), out[2].to(at::kCPU)}; };
        c.expected = [=] {
          const auto of = [&](int64_t i) { return f64(tables.select(1, i)).index_select(0, index); };
          const auto sum = update ? f64(start) + f64(y) * of(2) : f64(start);
          const auto stored = f64(sum.to(dtype));  // what is normed
          const auto normed = stored * at::rsqrt(stored.pow(2).mean(-1, true) + 1e-6) * (of(0) + 1) + of(1);
          return std::vector<at::Tensor>{nearest_codes(normed), sum.to(at::kCPU)};
        };
        cases.push_back(std::move(c));
      }
}

void add_attention_int8(std::vector<Case>& cases, const CudaKernelTable& table, const std::string& variant, Sizes sizes) {
  struct Shape {
    int64_t batch, heads, width, queries, keys;
  };
  std::vector<Shape> shapes;
  const auto launcher = variant == "cuda_wgmma" ? table.attention_int8_wgmma : table.attention_int8;
  for (const int64_t width : {64, 128}) {
    if (variant == "cuda_wgmma" && width != 128) continue;
    for (const int64_t n : {1, 63, 64, 65, 127, 193, 200}) shapes.push_back({1, 2, width, n, n});
    shapes.push_back({2, 3, width, 130, 77});
    shapes.push_back({1, 1, width, 257, 1});
    if (sizes == Sizes::usual) shapes.insert(shapes.end(), {{2, 32, width, 640, 640}, {1, 4, width, 6144, 6144}, {1, 2, width, 13376, 13376}});
  }
  for (const Shape& s : shapes) {
    const int64_t d = s.heads * s.width;
    const bool packed = s.queries == s.keys;
    at::Tensor q, k, v;
    if (packed) {
      const auto parts = draw({s.batch, s.queries, 3 * d}, at::kBFloat16).chunk(3, -1);
      q = parts[0], k = parts[1], v = parts[2];
    } else {
      q = draw({s.batch, s.queries, d}, at::kBFloat16), k = draw({s.batch, s.keys, d}, at::kBFloat16), v = draw({s.batch, s.keys, d}, at::kBFloat16);
    }
    k.add_(8 * draw({1, 1, d}, at::kBFloat16));  // what all keys share is taken off
    const at::Tensor out = at::empty({s.batch, s.queries, d}, q.options());
    const Int8Workspace space = int8_workspace(s.batch * s.heads, s.width, s.queries, s.keys);
    const at::Tensor workspace = at::empty({space.bytes}, q.options().dtype(at::kByte));
    const double scale = 1 / std::sqrt(static_cast<double>(s.width));
    const AttentionInt8Launch launch{{q.const_data_ptr(), k.const_data_ptr(), v.const_data_ptr(), out.mutable_data_ptr(), i32(s.batch), i32(s.heads),
                                      i32(s.width), i32(s.queries), i32(s.keys), q.stride(0), q.stride(1), k.stride(0), k.stride(1), v.stride(0),
                                      v.stride(1), out.stride(0), out.stride(1), nullptr, static_cast<float>(scale), nullptr},
                                     workspace.mutable_data_ptr(), launch_stream()};
    Case c{.op = "attention_int8", .variant = variant, .name = text("bf16_", s.batch, "x", s.heads, "x", s.width, "_", s.queries, "by", s.keys),
           .tolerance = 3e-2};  // weights in e4m3: 2.6 % of each, less where many keys count
    c.reset = [=] { poison(out), poison_codes(workspace); };
    c.launch = [launch, launcher, q, k, v, workspace] { return launcher(&launch); };
    c.outputs = {out};
    // The formula of attention_int8.h with exact weights.
    c.expected = [=] {
      const auto split = [&](const at::Tensor& t) { return f64(t).unflatten(-1, {s.heads, -1}).transpose(1, 2); };
      const auto coded = [](const at::Tensor& x, at::IntArrayRef axes) {
        const auto largest = x.abs().amax(axes, true).clamp_min(1e-12);
        return at::round(x * (127 / largest)) * (largest / 127);
      };
      std::vector<at::Tensor> tiles, pieces;
      for (const auto& tile : (split(k) - split(k).mean(2, true)).split(kInt8KeyTile, 2)) tiles.push_back(coded(tile, {-2, -1}));
      const auto keys = at::cat(tiles, 2).transpose(-1, -2);
      const auto values = nearest_codes(split(v).transpose(-1, -2)).transpose(-1, -2).to(at::kCUDA);
      for (const at::Tensor& part : coded(split(q), {-1}).split(1024, 2)) pieces.push_back(at::matmul(at::softmax(at::matmul(part, keys) * scale, -1), values));
      return std::vector<at::Tensor>{at::cat(pieces, 2).transpose(1, 2).flatten(2)};
    };
    cases.push_back(std::move(c));
  }
}

}  // namespace ltxv::gpu_check
