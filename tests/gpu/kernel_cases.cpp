#include "gpu/kernel_cases.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "gpu/case_values.h"
#include "qk_norm_rope/qk_norm_rope.h"

namespace ltxv::gpu_check {
namespace {

using namespace ops::gpu;

const float* floats(const at::Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }

// ---------------------------------------------------------------------------------------------------------------- attention
using AttentionLauncher = int (*)(const AttentionLaunch*);

at::Tensor attended(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, double scale) {
  const auto split = [&](const at::Tensor& t) { return f64(t).unflatten(-1, {heads, -1}).transpose(1, 2); };
  const auto p = at::softmax(at::matmul(split(q), split(k).transpose(-1, -2)) * scale, -1);
  return at::matmul(p, split(v)).transpose(1, 2).flatten(2);
}

void add_attention(std::vector<Case>& cases, AttentionLauncher launcher, const std::string& variant, Sizes sizes) {
  struct Shape {
    int64_t batch, heads, width, queries, keys;
    bool packed, lengths;  // q, k, v side by side in one tensor; keys in use differ by batch
  };
  std::vector<Shape> shapes;
  for (const int64_t width : {64, 128}) {
    for (const int64_t n : {1, 63, 64, 65, 127, 193, 200})
      shapes.push_back({1, 2, width, n, n, true, false});
    shapes.push_back({2, 3, width, 130, 77, false, true});
    shapes.push_back({1, 1, width, 257, 1, false, false});
    if (sizes == Sizes::small) continue;
    shapes.push_back({2, 32, width, 640, 640, true, false});
    shapes.push_back({1, 4, width, 6144, 6144, true, false});
    shapes.push_back({1, 2, width, 13376, 13376, true, false});
    shapes.push_back({2, 32, width, 6144, 128, false, true});
  }
  for (const Shape& s : shapes) {
    const int64_t d = s.heads * s.width;
    at::Tensor q, k, v;
    if (s.packed) {
      const auto parts = draw({s.batch, s.queries, 3 * d}, at::kBFloat16).chunk(3, -1);
      q = parts[0], k = parts[1], v = parts[2];
    } else {
      q = draw({s.batch, s.queries, d}, at::kBFloat16), k = draw({s.batch, s.keys, d}, at::kBFloat16), v = draw({s.batch, s.keys, d}, at::kBFloat16);
    }
    const at::Tensor out = at::empty({s.batch, s.queries, d}, q.options());
    at::Tensor lengths;
    if (s.lengths) lengths = at::tensor({i32(s.keys), i32(std::max<int64_t>(s.keys / 3, 1))}, at::kInt).narrow(0, 0, s.batch).to(at::kCUDA);
    const double scale = 1 / std::sqrt(static_cast<double>(s.width));
    const AttentionLaunch launch{q.const_data_ptr(), k.const_data_ptr(), v.const_data_ptr(), out.mutable_data_ptr(), i32(s.batch), i32(s.heads),
                                 i32(s.width), i32(s.queries), i32(s.keys), q.stride(0), q.stride(1), k.stride(0), k.stride(1), v.stride(0),
                                 v.stride(1), out.stride(0), out.stride(1), s.lengths ? lengths.const_data_ptr<int32_t>() : nullptr,
                                 static_cast<float>(scale), launch_stream()};
    Case c{.op = "attention", .variant = variant,
           .name = text("bf16_", s.batch, "x", s.heads, "x", s.width, "_", s.queries, "by", s.keys, s.packed ? "_packed" : "", s.lengths ? "_lengths" : ""),
           .tolerance = 1e-2};  // P is rounded to bf16 before the second product
    c.reset = [out] { poison(out); };
    c.launch = [launch, launcher, q, k, v, lengths] { return launcher(&launch); };
    c.outputs = {out};
    c.expected = [=] {
      std::vector<at::Tensor> rows;
      const auto counts = s.lengths ? lengths.to(at::kCPU) : at::Tensor();
      for (int64_t b = 0; b < s.batch; ++b) {
        const int64_t count = s.lengths ? counts[b].item<int32_t>() : s.keys;
        // Queries by the piece: the scores of 13376 rows in f64 are 1.4 GB a head.
        std::vector<at::Tensor> pieces;
        for (const at::Tensor& part : q.narrow(0, b, 1).split(1024, 1))
          pieces.push_back(attended(part, k.narrow(0, b, 1).narrow(1, 0, count), v.narrow(0, b, 1).narrow(1, 0, count), s.heads, scale));
        rows.push_back(at::cat(pieces, 1));
      }
      return std::vector<at::Tensor>{at::cat(rows)};
    };
    cases.push_back(std::move(c));
  }
}

// ---------------------------------------------------------------------------------------------------------------- rows
at::Tensor normed(const at::Tensor& x, double eps) { return x * at::rsqrt(x.pow(2).mean(-1, true) + eps); }

enum class Turn { none, full, separable };

void add_qk_norm_rope(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const RowShape& s : row_shapes(sizes))
      for (const Turn turn : {Turn::none, Turn::full, Turn::separable}) {
        const at::Tensor start = draw({s.batch, s.tokens, 3 * s.width}, dtype), all = at::empty_like(start);
        const at::Tensor wq = draw({s.width}, dtype), wk = draw({s.width}, dtype);
        const int64_t row_count = 40;
        const at::Tensor angles = turn == Turn::separable ? draw({row_count, s.width / 6}) : draw({s.tokens, s.width / 2});
        ops::RotaryTables tables;
        if (turn != Turn::none) tables = {angles.cos(), angles.sin(), {}};
        if (turn == Turn::separable) tables.rows = (at::arange(s.tokens * 3, at::kInt) * 7).remainder(row_count).view({-1, 3}).to(at::kCUDA);
        const auto parts = all.chunk(3, -1);
        const QkNormRopeLaunch launch{element(dtype), 2, {parts[0].mutable_data_ptr(), parts[1].mutable_data_ptr()},
                                      {wq.const_data_ptr(), wk.const_data_ptr()}, 3 * s.width, i32(s.batch * s.tokens), i32(s.tokens),
                                      i32(s.width), floats(tables.cos), floats(tables.sin),
                                      tables.rows.defined() ? tables.rows.const_data_ptr<int32_t>() : nullptr, 1e-5f, launch_stream()};
        Case c{.op = "qk_norm_rope", .variant = "cuda",
               .name = text(name_of(dtype), "_", s.batch, "x", s.tokens, "x", s.width, turn == Turn::full ? "_turned" : turn == Turn::separable ? "_separable" : ""),
               .tolerance = tolerance_of(dtype)};
        c.reset = [all, start] { all.copy_(start); };
        c.launch = [launch, &table, tables, wq, wk] { return table.qk_norm_rope(&launch); };
        c.outputs = {all};  // the values beside them must not change
        c.expected = [=] {
          const auto from = f64(start).chunk(3, -1);
          const auto full = turn == Turn::separable ? ops::expanded(tables, s.width) : tables;
          const auto one = [&](const at::Tensor& x, const at::Tensor& weight) {
            const auto y = normed(x, 1e-5) * f64(weight);
            if (turn == Turn::none) return y;
            const auto pairs = y.unflatten(-1, {-1, 2});
            const auto a = pairs.select(-1, 0), b = pairs.select(-1, 1);
            return at::stack({a * f64(full.cos) - b * f64(full.sin), b * f64(full.cos) + a * f64(full.sin)}, -1).flatten(-2);
          };
          return std::vector<at::Tensor>{at::cat({one(from[0], wq), one(from[1], wk), from[2]}, -1)};
        };
        cases.push_back(std::move(c));
      }
}

// rms_norm_modulate, add_gated and both in one launch.
void add_norm_modulate(std::vector<Case>& cases, const CudaKernelTable& table, const std::string& op, Sizes sizes) {
  const bool norm = op != "add_gated", gate = op != "rms_norm_modulate";
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const RowShape& s : row_shapes(sizes))
      for (const bool by_token : {false, true}) {
        const at::Tensor start = draw({s.batch, s.tokens, s.width}, dtype), x = at::empty_like(start), out = at::empty_like(start);
        const at::Tensor update = gate ? draw(start.sizes(), dtype) : at::Tensor();
        const at::Tensor tables = draw({by_token ? 3 : 1, 3, s.width});
        at::Tensor index;
        if (by_token) index = (at::arange(s.tokens, at::kLong) * 7 + 1).remainder(3).to(at::kCUDA);
        const NormModulateLaunch launch{element(dtype), element(dtype), x.mutable_data_ptr(), gate ? update.const_data_ptr() : nullptr,
                                        gate ? floats(tables.select(1, 2)) : nullptr, norm ? out.mutable_data_ptr() : nullptr, nullptr,
                                        norm ? floats(tables.select(1, 0)) : nullptr, norm ? floats(tables.select(1, 1)) : nullptr, 3 * s.width,
                                        by_token ? index.const_data_ptr<int64_t>() : nullptr, i32(s.batch * s.tokens), i32(s.tokens),
                                        i32(s.width), 1e-6f, launch_stream()};
        Case c{.op = op, .variant = "cuda", .name = text(name_of(dtype), "_", s.batch, "x", s.tokens, "x", s.width, by_token ? "_by_token" : ""),
               .tolerance = tolerance_of(dtype)};
        c.reset = [x, start, out] { x.copy_(start), poison(out); };
        c.launch = [launch, &table, update, tables, index] { return table.norm_modulate(&launch); };
        c.outputs = {x};
        if (norm) c.outputs.push_back(out);
        c.expected = [=] {
          const auto of = [&](int64_t i) {
            const auto rows = f64(tables.select(1, i));
            return by_token ? rows.index_select(0, index) : rows[0];
          };
          auto sum = f64(start);
          if (gate) sum = sum + f64(update) * of(2);
          std::vector<at::Tensor> expected{sum};
          // What is normed is the sum as it was stored.
          if (norm) expected.push_back(normed(gate ? f64(sum.to(dtype)) : sum, 1e-6) * (of(0) + 1) + of(1));
          return expected;
        };
        cases.push_back(std::move(c));
      }
}

// ---------------------------------------------------------------------------------------------------------------- VAE
void add_vae_norm(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  std::vector<std::array<int64_t, 5>> shapes = {{1, 8, 1, 1, 1}, {2, 24, 3, 5, 7}, {1, 128, 2, 9, 6}, {1, 1024, 2, 3, 5}, {1, 2048, 1, 2, 3}};
  if (sizes == Sizes::usual) shapes.insert(shapes.end(), {{1, 128, 9, 128, 192}, {1, 512, 17, 32, 48}});
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [b, ch, t, h, w] : shapes)
      for (const bool modulated : {false, true}) {
        const at::Tensor x = draw({b, t, h, w, ch}, dtype), shift = draw({b, ch}), scale = draw({b, ch});
        const int64_t front = t % 3, back = 1;
        const at::Tensor out = at::empty({b, front + t + back, h, w, ch}, x.options());
        const VaeNormLaunch launch{element(dtype), x.const_data_ptr(), out.mutable_data_ptr(), modulated ? floats(shift) : nullptr,
                                   modulated ? floats(scale) : nullptr, i32(b), i32(t), i32(ch), h * w, i32(front), i32(back), 1e-8f,
                                   launch_stream()};
        Case c{.op = "vae_norm", .variant = "cuda", .name = text(name_of(dtype), "_", b, "x", ch, "x", t, "x", h, "x", w, modulated ? "_modulated" : ""),
               .tolerance = tolerance_of(dtype)};
        c.reset = [out] { poison(out); };
        c.launch = [launch, &table, x, shift, scale] { return table.vae_norm(&launch); };
        c.outputs = {out};
        c.expected = [=] {
          auto y = normed(f64(x), 1e-8);
          if (modulated) y = y * (f64(scale) + 1).view({x.size(0), 1, 1, 1, -1}) + f64(shift).view({x.size(0), 1, 1, 1, -1});
          y = y * at::sigmoid(y);
          std::vector<at::Tensor> frames(static_cast<size_t>(front), y.narrow(1, 0, 1));
          frames.push_back(y);
          frames.push_back(y.narrow(1, y.size(1) - 1, 1));
          return std::vector<at::Tensor>{at::cat(frames, 1)};
        };
        cases.push_back(std::move(c));
      }
}

void add_depth_to_space(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  const int64_t side = sizes == Sizes::usual ? 24 : 3;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const std::array<int64_t, 3>& s : {std::array<int64_t, 3>{2, 2, 2}, {1, 2, 2}, {2, 1, 1}, {1, 1, 1}})
      for (const int64_t repeat : {0, 1, 2})  // 0: no residual
        for (const int64_t ch : {16, 256}) {
          const int64_t positions = s[0] * s[1] * s[2], t = 3, h = side, w = side + 1, dropped = s[0] - 1;
          const at::Tensor y = draw({2, t, h, w, ch * positions}, dtype);
          const at::Tensor residual = repeat ? draw({2, t, h, w, ch / repeat * positions}, dtype) : at::Tensor();
          const at::Tensor out = at::empty({2, t * s[0] - dropped, h * s[1], w * s[2], ch}, y.options());
          const DepthToSpaceLaunch launch{element(dtype), y.const_data_ptr(), repeat ? residual.const_data_ptr() : nullptr, out.mutable_data_ptr(), 2,
                                          i32(t), i32(h), i32(w), i32(ch), repeat ? i32(ch / repeat) : 0, i32(s[0]), i32(s[1]), i32(s[2]),
                                          i32(dropped), launch_stream()};
          Case c{.op = "depth_to_space", .variant = "cuda", .name = text(name_of(dtype), "_", ch, "_", s[0], s[1], s[2], "_residual", repeat, "_", side),
                 .tolerance = tolerance_of(dtype)};
          c.reset = [out] { poison(out); };
          c.launch = [launch, &table, y, residual] { return table.depth_to_space(&launch); };
          c.outputs = {out};
          c.expected = [=] {
            // out[t*st+i, h*sh+j, w*sw+k, c] = y[t, h, w, ((c*st+i)*sh+j)*sw+k]
            const auto unfolded = [&](const at::Tensor& v, int64_t channels) {
              return f64(v).view({2, t, h, w, channels, s[0], s[1], s[2]}).permute({0, 1, 5, 2, 6, 3, 7, 4})
                  .reshape({2, t * s[0], h * s[1], w * s[2], channels}).narrow(1, dropped, t * s[0] - dropped);
            };
            auto sum = unfolded(y, ch);
            if (repeat) sum = sum + unfolded(residual, ch / repeat).repeat({1, 1, 1, 1, repeat});
            return std::vector<at::Tensor>{sum};
          };
          cases.push_back(std::move(c));
        }
}

void add_conv_end(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  std::vector<std::array<int64_t, 2>> shapes = {{1, 8}, {3, 24}, {257, 128}, {65, 1024}, {7, 4096}};  // positions, channels
  if (sizes == Sizes::usual) shapes.insert(shapes.end(), {{9 * 128 * 192, 128}, {121 * 64 * 96, 256}});
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& [positions, ch] : shapes)
      for (const bool with_residual : {false, true}) {
        const at::Tensor start = draw({positions, ch}, dtype), y = at::empty_like(start), bias = draw({ch}, dtype);
        const at::Tensor residual = with_residual ? draw({positions, ch}, dtype) : at::Tensor();
        const AddBiasLaunch launch{element(dtype), y.mutable_data_ptr(), bias.const_data_ptr(), with_residual ? residual.const_data_ptr() : nullptr,
                                   y.numel(), i32(ch), launch_stream()};
        Case c{.op = "conv3d", .variant = "cuda", .name = text(name_of(dtype), "_", positions, "x", ch, with_residual ? "_residual" : ""),
               .tolerance = tolerance_of(dtype)};
        c.reset = [y, start] { y.copy_(start); };
        c.launch = [launch, &table, bias, residual] { return table.add_bias(&launch); };
        c.outputs = {y};
        c.expected = [=] {
          const auto sum = f64(start) + f64(bias);
          return std::vector<at::Tensor>{with_residual ? sum + f64(residual) : sum};
        };
        cases.push_back(std::move(c));
      }
}

// ---------------------------------------------------------------------------------------------------------------- sampler
void add_guided_step(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes) {
  struct Guidance {
    float scale, cfg_rescale, stg_scale, stg_rescale;
    bool negative, perturbed, star, by_token;
  };
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t tokens : sizes == Sizes::usual ? std::vector<int64_t>{1, 97, 6144} : std::vector<int64_t>{1, 97})
      for (const Guidance& g : {Guidance{1, 0, 0, 1, false, false, false, false}, {3, 0, 0, 1, true, false, false, false},
                                {3, 0.7f, 0, 1, true, false, false, true}, {3, 0, 1, 0.5f, true, true, true, true}}) {
        const int64_t width = 128;
        const at::Tensor start = draw({tokens, width}), x = at::empty_like(start), velocity = at::empty_like(start);
        const at::Tensor p = draw({tokens, width}, dtype), n = draw({tokens, width}, dtype), q = draw({tokens, width}, dtype), steps = draw({tokens});
        const at::Tensor workspace = at::empty({kGuidedStepWorkspace}, start.options().dtype(at::kDouble));
        const GuidedStepLaunch launch{element(dtype), x.mutable_data_ptr<float>(), velocity.mutable_data_ptr<float>(), p.const_data_ptr(),
                                      g.negative ? n.const_data_ptr() : nullptr, g.perturbed ? q.const_data_ptr() : nullptr, tokens, i32(width),
                                      g.scale, g.cfg_rescale, g.stg_scale, g.stg_rescale, g.star, -0.125f, g.by_token ? floats(steps) : nullptr,
                                      workspace.mutable_data_ptr<double>(), launch_stream()};
        Case c{.op = "guided_step", .variant = "cuda", .name = text(name_of(dtype), "_", tokens, "_guidance", g.negative + g.perturbed, g.star ? "_star" : "",
               g.cfg_rescale != 0 ? "_rescaled" : ""), .tolerance = 1e-5};  // everything is f32 or f64 once it is read
        c.reset = [=] { x.copy_(start), poison(velocity), poison(workspace); };
        c.launch = [launch, &table, p, n, q, steps, workspace] { return table.guided_step(&launch); };
        c.outputs = {x, velocity};
        c.expected = [=] {
          const auto restore = [](const at::Tensor& v, const at::Tensor& of, double r) { return v * (r * of.std() / v.std() + (1 - r)); };
          const auto positive = f64(p);
          auto v = positive;
          if (g.negative) {
            auto base = f64(n);
            if (g.star) base = base * ((positive * base).sum() / ((base * base).sum() + 1e-8));
            v = base + static_cast<double>(g.scale) * (positive - base);
            if (g.cfg_rescale != 0) v = restore(v, positive, g.cfg_rescale);
          }
          if (g.perturbed) {
            v = v + static_cast<double>(g.stg_scale) * (positive - f64(q));
            if (g.stg_rescale != 1) v = restore(v, positive, g.stg_rescale);
          }
          const auto by = g.by_token ? f64(steps).unsqueeze(-1) : at::full({1, 1}, -0.125, v.options());
          return std::vector<at::Tensor>{f64(start) + v * by, v};
        };
        cases.push_back(std::move(c));
      }
}

}  // namespace

std::vector<RowShape> row_shapes(Sizes sizes) {
  std::vector<RowShape> shapes = {{1, 1, 8}, {2, 3, 72}, {1, 5, 512}, {3, 7, 2048}, {1, 3, 2056}, {1, 2, 4096}, {1, 2, 8192}};
  if (sizes == Sizes::usual) shapes.insert(shapes.end(), {{2, 6144, 2048}, {1, 6144, 4096}, {1, 13376, 2048}});
  return shapes;
}

void* launch_stream() {
  const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
  return guard.getStream(guard.getDevice()).native_handle();
}

std::vector<Case> cases_of(const CudaKernelTable& table, const std::string& op, const std::string& variant, Sizes sizes) {
  std::vector<Case> cases;
  if (op == "attention" && variant == "cuda_mma") add_attention(cases, table.attention_mma, variant, sizes);
  if (op == "attention" && variant == "cuda_wgmma") add_attention(cases, table.attention_wgmma, variant, sizes);
  if (op == "qk_norm_rope") add_qk_norm_rope(cases, table, sizes);
  if (op == "rms_norm_modulate" || op == "add_gated" || op == "gated_norm_modulate") add_norm_modulate(cases, table, op, sizes);
  if (op == "vae_norm") add_vae_norm(cases, table, sizes);
  if (op == "depth_to_space") add_depth_to_space(cases, table, sizes);
  if (op == "conv3d") add_conv_end(cases, table, sizes);
  if (op == "guided_step") add_guided_step(cases, table, sizes);
  if (op == "quantise_rows") add_quantise_rows(cases, table, sizes);
  if (op == "norm_quantise") add_norm_quantise(cases, table, sizes);
  if (op == "attention_int8") add_attention_int8(cases, table, variant, sizes);
  return cases;
}

}  // namespace ltxv::gpu_check
