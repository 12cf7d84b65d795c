// Ops of the video VAE.
#include <ATen/CPUGeneratorImpl.h>

#include "base/error.h"
#include "conv3d/conv3d.h"
#include "kernels/measures.h"
#include "vae_norm/vae_norm.h"

namespace ltxv::test {
namespace {

struct Draw {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(6);
  at::Tensor operator()(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat)).to(dtype);
  }
  // [B,C,T,H,W] stored [B,T,H,W,C], as the networks hold their volumes.
  at::Tensor volume(at::IntArrayRef shape, at::ScalarType dtype) {
    return (*this)(shape, dtype).contiguous(at::MemoryFormat::ChannelsLast3d);
  }
};

at::Tensor f64(const at::Tensor& t) { return t.to(at::kDouble); }

const char* name_of(at::ScalarType dtype) { return dtype == at::kFloat ? "f32" : "bf16"; }

template <class Run>
void add_volume(Errors& errors, const std::string& name, const at::Tensor& expected, const Run& run) {
  add_case(errors, name, [&] {
    const at::Tensor actual = run();
    return actual.sizes() == expected.sizes() ? (f64(actual) - expected).abs().max().item<double>() : 1e30;
  });
}

constexpr int64_t kVolumes[][5] = {{1, 16, 1, 1, 1}, {1, 32, 3, 5, 7}, {2, 48, 2, 4, 3},
                                   {1, 8, 2, 3, 3},  {1, 3, 2, 2, 5},  {1, 128, 3, 9, 6}};

at::Tensor padded(const at::Tensor& x, int64_t front, int64_t back) {
  std::vector<at::Tensor> parts(front, x.narrow(2, 0, 1));
  parts.push_back(x);
  parts.insert(parts.end(), back, x.narrow(2, x.size(2) - 1, 1));
  return at::cat(parts, 2);
}

}  // namespace

Errors vae_norm_errors() {
  Draw draw;
  Errors errors;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const auto& v : kVolumes)
      for (const bool modulated : {false, true}) {
        const auto x = draw.volume(v, dtype);
        const auto shift = modulated ? draw({v[0], v[1]}) : at::Tensor(),
                   scale = modulated ? draw({v[0], v[1]}) : at::Tensor();
        auto y = f64(x);
        y = y * at::rsqrt(y.pow(2).mean(1, true) + 1e-8);
        if (modulated) y = y * (f64(scale) + 1).view({v[0], v[1], 1, 1, 1}) + f64(shift).view({v[0], v[1], 1, 1, 1});
        const ops::FramePadding padding{.front = v[2] % 3, .back = 1};
        ops::Scratch scratch;
        add_volume(
            errors,
            text(name_of(dtype), "_", v[0], "x", v[1], "x", v[2], "x", v[3], "x", v[4], modulated ? "_modulated" : ""),
            padded(y * at::sigmoid(y), padding.front, padding.back),
            [&] { return ops::vae_norm(x, shift, scale, padding, scratch); });
      }
  return errors;
}

Errors depth_to_space_errors() {
  Draw draw;
  Errors errors;
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t channels : {2, 16, 48})
      for (const std::array<int64_t, 3>& s : {std::array<int64_t, 3>{2, 2, 2}, {1, 2, 2}, {2, 1, 1}})
        for (const int64_t repeat : {0, 1, 2}) {  // 0: no residual
          const int64_t positions = s[0] * s[1] * s[2];
          const int64_t t = 2, h = 3, w = 5;
          const auto y = draw.volume({1, channels * positions, t, h, w}, dtype);
          const auto residual = repeat ? draw.volume({1, channels / repeat * positions, t, h, w}, dtype) : at::Tensor();
          // Position by position, from the definition: out[c, t*st+i, h*sh+j, w*sw+k] = y[((c*st+i)*sh+j)*sw+k, t, h,
          // w].
          auto expected = at::zeros({1, channels, t * s[0], h * s[1], w * s[2]}, at::kDouble);
          for (int64_t i = 0; i < s[0]; ++i)
            for (int64_t j = 0; j < s[1]; ++j)
              for (int64_t k = 0; k < s[2]; ++k) {
                const int64_t position = (i * s[1] + j) * s[2] + k;
                auto part = f64(y).slice(1, position, channels * positions, positions);
                if (repeat)
                  part = part + f64(residual)
                                    .slice(1, position, channels / repeat * positions, positions)
                                    .repeat({1, repeat, 1, 1, 1});
                expected.slice(2, i, t * s[0], s[0])
                    .slice(3, j, h * s[1], s[1])
                    .slice(4, k, w * s[2], s[2])
                    .copy_(part);
              }
          ops::Scratch scratch;
          const auto name = text(name_of(dtype), "_", channels, "_", s[0], s[1], s[2], "_residual", repeat);
          add_volume(errors, name, expected.narrow(2, s[0] - 1, t * s[0] - (s[0] - 1)),
                   [&] { return ops::depth_to_space(y, residual, s, scratch); });
          add_volume(errors, name + "_later", expected,
                   [&] { return ops::depth_to_space(y, residual, s, scratch, ops::FirstFrame::keep); });
        }
  return errors;
}

Errors conv3d_errors() {
  struct Case {
    int64_t in, out, frames, height, width;
    std::array<int64_t, 3> stride;
    bool residual;
  };
  const Case cases[] = {{16, 16, 9, 9, 17, {1, 1, 1}, true},   {32, 48, 5, 12, 11, {1, 1, 1}, false},
                        {48, 16, 4, 16, 13, {1, 1, 1}, true},  {8, 8, 3, 6, 6, {1, 1, 1}, false},
                        {3, 5, 5, 8, 6, {1, 1, 1}, true},      {16, 16, 5, 8, 6, {2, 2, 2}, false},
                        {128, 128, 5, 10, 12, {1, 1, 1}, true}, {128, 96, 3, 5, 7, {1, 1, 1}, true},
                        {512, 320, 3, 4, 4, {1, 1, 1}, false}};  // more than one widened part
  Draw draw;
  Errors errors;
  struct Types {
    at::ScalarType volume, weight;
  };
  for (const auto [dtype, weight_dtype] : {Types{at::kFloat, at::kFloat}, {at::kBFloat16, at::kBFloat16}, {at::kFloat, at::kBFloat16}})
    for (const Case& c : cases) {
      const auto x = draw.volume({1, c.in, c.frames + 2, c.height, c.width}, dtype);
      const auto weight = (draw({c.out, c.in, 3, 3, 3}) / std::sqrt(27.0 * static_cast<double>(c.in))).to(weight_dtype),
                 bias = draw({c.out}, dtype);
      auto expected = at::conv3d(f64(x), f64(weight), f64(bias), c.stride, {0, 1, 1});
      const auto residual = c.residual ? draw.volume(expected.sizes(), dtype) : at::Tensor();
      if (c.residual) expected = expected + f64(residual);
      ops::Scratch scratch;
      add_volume(errors,
               text(name_of(dtype), dtype == weight_dtype ? "" : "_by_bf16", "_", c.in, "to", c.out, "_", c.frames, "x", c.height, "x", c.width, "_stride",
                    c.stride[0]),
               expected, [&] {
                 return ops::conv3d({.x = x, .weight = weight, .bias = bias, .residual = residual, .stride = c.stride},
                                    scratch);
               });
    }
  return errors;
}

}  // namespace ltxv::test
