// Every variant of every op that this machine has, against f64: its error may be at most twice the reference variant's
// own at the same dtype. A variant is chosen by LTXV_KERNELS, which is read once a process, so each one is measured in
// a process of its own: the disabled test Measure.Errors writes one line a case, the other tests compare the lines.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "kernels/measures.h"
#include "op_names.h"
#include "registry.h"
#include "support/own_process.h"
#include "support/temp_folder.h"

namespace ltxv {
namespace {

TEST(Measure, DISABLED_Errors) {
  std::ofstream out(test::environment_variable("LTXV_TEST_OUT"));
  for (const auto& [op, measure] : test::measures())
    if (ops::pinned_variant(op))
      for (const auto& [name, error] : measure()) out << op << " " << name << " " << error << "\n";
}

using ErrorsByOp = std::map<std::string, test::Errors, std::less<>>;

// Of every op that has this variant, measured in one process.
const ErrorsByOp& errors_of(std::string_view variant) {
  static std::map<std::string_view, ErrorsByOp> measured;
  const auto known = measured.find(variant);
  if (known != measured.end()) return known->second;
  std::string pins;
  for (const auto& info : ops::all_ops())
    if (std::find(info.variants.begin(), info.variants.end(), variant) != info.variants.end())
      pins += text(info.op, "=", variant, ",");
  const test::TempFolder folder;
  const int status =
      test::run_own_test("Measure.DISABLED_Errors", text("LTXV_TEST_OUT=", folder / "errors", " LTXV_KERNELS=", pins));
  EXPECT_EQ(status, 0) << pins;
  std::ifstream in(folder / "errors");
  std::string op, name;
  for (double error; in >> op >> name >> error;) measured[variant][op][name] = error;
  return measured[variant];
}

test::Errors errors_of(std::string_view op, std::string_view variant) {
  const auto& by_op = errors_of(variant);
  const auto it = by_op.find(op);
  return it == by_op.end() ? test::Errors{} : it->second;
}

void expect_close_enough(const ops::OpInfo& info) {
  constexpr double kAbsolute = 1e-6;
  // Winograd's transforms add and subtract before they multiply: about three times the rounding of the direct sum.
  const double factor = info.op == "conv3d" ? 4 : 2;
  ASSERT_EQ(info.variants.back(), "reference") << info.op;
  const auto reference = errors_of(info.op, "reference");
  ASSERT_GE(reference.size(), 10u) << info.op;
  for (const auto& [name, error] : reference)
    // Values stay below about 20: there a rounding of bf16 is 2^-9 * 16 = 0.03 and of f32 1e-6, and some ops round
    // twice.
    EXPECT_LE(error, name[0] == 'f' ? 3e-5 : 0.07) << info.op << "=reference " << name;
  for (const auto variant : info.variants) {
    const auto errors = errors_of(info.op, variant);
    EXPECT_FALSE(errors.empty()) << info.op << "=" << variant << " refused every case";
    for (const auto& [name, error] : errors)
      EXPECT_LE(error, factor * reference.at(name) + kAbsolute) << info.op << "=" << variant << " " << name;
  }
}

TEST(Variants, AreAtMostTwiceAsFarFromF64AsTheReference) {
  for (const auto& info : ops::all_ops()) expect_close_enough(info);
}

TEST(Variants, EveryOpIsMeasured) {
  EXPECT_EQ(ops::all_ops().size(), ops::kOpNames.size());
  for (const auto name : ops::kOpNames) EXPECT_TRUE(test::measures().count(name)) << name;
}

}  // namespace
}  // namespace ltxv
