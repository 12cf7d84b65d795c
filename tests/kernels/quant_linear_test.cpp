// What the codes are, by their definition, and that nothing odd gets lost in them.
#include "quant_linear/quant_linear.h"

#include <limits>

#include "kernels/e4m3.h"
#include "support/expect_error.h"

namespace ltxv {
namespace {

using ops::QuantType;
using test::expect_error;

std::vector<double> positive_e4m3_values() {
  std::vector<double> values;
  for (uint8_t code = 0; code < 0x7f; ++code) values.push_back(test::e4m3_value(code));
  return values;
}

TEST(QuantiseRows, EveryE4m3ValueAndTheMiddleBetweenTwoAreRoundedToEven) {
  const auto values = positive_e4m3_values();
  std::vector<float> x, expected;
  for (size_t i = 0; i < values.size(); ++i) {
    for (const double sign : {1.0, -1.0}) x.push_back(static_cast<float>(sign * values[i])), expected.push_back(x.back());
    if (i + 1 == values.size()) continue;
    // Codes of neighbours differ by one, so the even code is the even index.
    x.push_back(static_cast<float>((values[i] + values[i + 1]) / 2));
    expected.push_back(static_cast<float>(values[i % 2 == 0 ? i : i + 1]));
  }
  const auto rows = ops::quantise_rows(at::tensor(x), QuantType::fp8);  // the largest, 448, makes the scale 1
  EXPECT_EQ(rows.scales[0].item<float>(), 1.0f);
  EXPECT_TRUE(at::equal(rows.codes.to(at::kFloat), at::tensor(expected)));
}

TEST(QuantiseRows, IntegersAreRoundedToEven) {
  const auto rows = ops::quantise_rows(at::tensor({127.0f, -127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 0.49f, -126.51f, 0.0f}), QuantType::int8);
  EXPECT_EQ(rows.scales[0].item<float>(), 1.0f);
  EXPECT_TRUE(at::equal(rows.codes.to(at::kInt), at::tensor({127, -127, 0, 2, 2, 0, -2, 0, -127, 0}, at::kInt)));
}

TEST(QuantiseRows, NanAndInfinityStayVisible) {
  for (const auto type : {QuantType::int8, QuantType::fp8})
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
        for (const int64_t column : {0, 21, 39}) {
          auto x = at::ones({2, 40});
          x[1][column] = odd;
          const auto weight = ops::quantise_rows(at::ones({3, 40}), type);
          const auto y = ops::quant_linear(ops::quantise_rows(x.to(dtype), type), ops::quantised_weight(weight.codes, weight.scales, type), {}, dtype);
          EXPECT_TRUE(at::isfinite(y[0]).all().item<bool>());
          EXPECT_FALSE(at::isfinite(y[1]).any().item<bool>()) << "int8 or fp8, column " << column;
        }
}

TEST(QuantLinear, RefusesWhatDoesNotFit) {
  constexpr auto kInvalid = ErrorCode::invalid_argument;
  const auto rows = ops::quantise_rows(at::ones({2, 8}), QuantType::int8);
  const auto weight = ops::quantised_weight(rows.codes.clone(), rows.scales, QuantType::int8);
  EXPECT_EQ(ops::quant_linear(rows, weight, {}, at::kFloat).sizes(), at::IntArrayRef({2, 2}));
  expect_error(kInvalid, "codes [..,8] of Char", [&] { ops::quant_linear(ops::quantise_rows(at::ones({2, 8}), QuantType::fp8), weight, {}, at::kFloat); });
  expect_error(kInvalid, "codes [..,8]", [&] { ops::quant_linear(ops::quantise_rows(at::ones({2, 9}), QuantType::int8), weight, {}, at::kFloat); });
  expect_error(kInvalid, "bias [2]", [&] { ops::quant_linear(rows, weight, at::ones({3}), at::kFloat); });
  expect_error(kInvalid, "f32 or bf16 out", [&] { ops::quant_linear(rows, weight, {}, at::kHalf); });
  expect_error(kInvalid, "contiguous rows of f32 or bf16", [&] { ops::quantise_rows(at::ones({2, 8}, at::kHalf), QuantType::int8); });
  expect_error(kInvalid, "contiguous rows", [&] { ops::quantise_rows(at::ones({2, 8}).t(), QuantType::int8); });
  expect_error(kInvalid, "codes [out,in] of Char", [&] { ops::quantised_weight(at::ones({2, 8}), rows.scales, QuantType::int8); });
}

}  // namespace
}  // namespace ltxv
