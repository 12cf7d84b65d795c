// What is special about attention's own kernels, on whatever variant this machine chooses; their error is in variants_test.cpp.
#include "attention/attention.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ltxv {
namespace {

at::Tensor exact(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {  // one head
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(2)));
  const auto scores = at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(1, 2)) * scale;
  return at::matmul(at::softmax(scores, -1), v.to(at::kDouble));
}

// Scores of standard normal numbers are near those of the first keys; here the last are up to 60 times as large, in the third and the
// seventieth block of keys too, and exponentials over the largest of the first keys would overflow.
TEST(Attention, ScoresMayGrowAlongTheKeys) {
  const c10::InferenceMode inference;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
  for (const int64_t keys : {95, 2300}) {
    const auto draw = [&](int64_t length) { return at::randn({1, length, 64}, generator, at::TensorOptions()); };
    const auto q = draw(40).to(at::kBFloat16), v = draw(keys).to(at::kBFloat16);
    const auto k = (draw(keys) * (1 + 60.0 / static_cast<double>(keys) * at::arange(keys, at::kFloat).view({1, -1, 1}))).to(at::kBFloat16);
    const auto largest = at::matmul(q.to(at::kFloat), k.to(at::kFloat).transpose(1, 2)).abs().max().item<double>() / 8;
    ASSERT_GT(largest, 100);  // e^100 is beyond f32
    const auto error = (ops::attention(q, k, v, 1).to(at::kDouble) - exact(q, k, v)).abs().max().item<double>();
    EXPECT_LT(error, 0.04) << keys;  // values up to 4 and weights near one, each rounded to 8 bits
  }
}

TEST(Attention, IsTheSameInEveryRun) {
  const c10::InferenceMode inference;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(6);
  const auto draw = [&](int64_t length) { return at::randn({2, length, 192}, generator, at::TensorOptions()).to(at::kBFloat16); };
  const auto q = draw(530), k = draw(77), v = draw(77);
  const auto once = ops::attention(q, k, v, 3);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(ops::attention(q, k, v, 3).equal(once));
}

// LibTorch's products keep tile registers of their own on processors that have them.
TEST(Attention, LeavesTheProductsAroundItAsTheyWere) {
  const c10::InferenceMode inference;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(7);
  const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, generator, at::TensorOptions()).to(at::kBFloat16); };
  const auto x = draw({300, 512}), w = draw({512, 512}), q = draw({1, 64, 64}), k = draw({1, 50, 64});
  const auto before = at::matmul(x, w), heads = at::scaled_dot_product_attention(q, k, k);
  for (int i = 0; i < 3; ++i) {
    const auto own = ops::attention(q, k, k, 1);
    EXPECT_TRUE(at::matmul(x, w).equal(before));
    EXPECT_TRUE(at::scaled_dot_product_attention(q, k, k).equal(heads));
    EXPECT_TRUE(ops::attention(q, k, k, 1).equal(own));
  }
}

}  // namespace
}  // namespace ltxv
