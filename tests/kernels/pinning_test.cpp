// LTXV_KERNELS: what it accepts and what it says to mistakes. It is read once a process, so every case is a process.
#include <gtest/gtest.h>

#include <fstream>

#include "adaln/adaln.h"
#include "base/tensor.h"
#include "registry.h"
#include "support/own_process.h"
#include "support/temp_folder.h"

namespace ltxv {
namespace {

// Adds two tensors and writes "done", or the error's code and text.
TEST(Pinning, DISABLED_AddGated) {
  std::ofstream out(test::environment_variable("LTXV_TEST_OUT"));
  try {
    const bool strange = !test::environment_variable("LTXV_TEST_F16").empty();
    auto x = at::ones({1, 2, 4}, strange ? at::kHalf : at::kFloat);
    ops::add_gated_(x, x.clone(), {}, {});
    out << (x.sum().item<float>() == 16 ? "done" : "wrong");
  } catch (const Error& error) {
    out << static_cast<int>(error.code()) << " " << error.what();
  }
}

std::string with_pin(const std::string& pin, const std::string& more = "") {
  const test::TempFolder folder;
  EXPECT_EQ(test::run_own_test("Pinning.DISABLED_AddGated",
                               "LTXV_TEST_OUT=" + (folder / "out") + " 'LTXV_KERNELS=" + pin + "' " + more),
            0);
  return test::read_file(folder / "out");
}

TEST(Pinning, KnownVariantsRun) {
  EXPECT_EQ(with_pin(""), "done");
  EXPECT_EQ(with_pin("add_gated=reference"), "done");
  EXPECT_EQ(with_pin("attention=sdpa,add_gated=reference,"), "done");
  for (const auto& op : ops::all_ops()) {
    if (op.op != "add_gated") continue;
    for (const auto variant : op.variants) EXPECT_EQ(with_pin(text("add_gated=", variant)), "done");
  }
}

TEST(Pinning, MistakesAreNamed) {
  EXPECT_EQ(with_pin("fast"), "-1 LTXV_KERNELS: \"fast\" is not op=variant");
  EXPECT_NE(with_pin("add_gate=reference").find("there is no op \"add_gate\" (known: attention, "), std::string::npos);
  const auto unknown = with_pin("add_gated=sse2");
  EXPECT_NE(unknown.find("add_gated has no variant \"sse2\" (known: "), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("reference)"), std::string::npos) << unknown;
}

TEST(Pinning, AVariantThatCannotRunSaysSo) {
  if (!ops::cpu_features().avx2) GTEST_SKIP() << "this CPU has no AVX2";
  EXPECT_EQ(with_pin("add_gated=avx2", "LTXV_TEST_F16=1"),
            "-1 LTXV_KERNELS pins add_gated=avx2, which cannot run these arguments");
  EXPECT_EQ(with_pin("", "LTXV_TEST_F16=1"), "done");  // unpinned, f16 falls to the reference
}

TEST(Pinning, WithoutItThisProcessPinsNothing) {
  if (!test::environment_variable("LTXV_KERNELS").empty()) GTEST_SKIP() << "LTXV_KERNELS is set";
  for (const auto& op : ops::all_ops()) EXPECT_EQ(ops::pinned_variant(op.op), std::nullopt);
}

}  // namespace
}  // namespace ltxv
