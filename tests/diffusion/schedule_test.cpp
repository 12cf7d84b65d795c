// Schedules against diffusers and ltx_video, and the errors of impossible ones.
#include "diffusion/schedule.h"

#include "support/expect_error.h"
#include "support/golden.h"

namespace ltxv {
namespace {

using test::expect_error;

void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance,
                  const std::string& name) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << name << " entry " << i;
}

std::vector<int64_t> numbers_in(const std::string& name) {
  std::vector<int64_t> numbers;
  std::istringstream in(name);
  for (std::string part; std::getline(in, part, '/');) numbers.push_back(std::stoll(part));
  return numbers;
}

TEST(Schedule, EverySizeHasASchedule) {
  // Rounding must not lift the first level above 1, which exp(mu) + 1 - 1 did at some token counts.
  for (int64_t tokens = 1; tokens <= 20000; ++tokens) {
    for (const double terminal : {0.0, 0.1}) {
      const auto sigmas = shifted_sigmas(4, tokens, {0.95, 2.05, 1024, 4096}, terminal);
      ASSERT_EQ(sigmas.front(), 1.0) << tokens << " tokens, terminal " << terminal;
      ASSERT_NO_THROW(check_sigmas(sigmas)) << tokens << " tokens, terminal " << terminal;
    }
  }
  for (int64_t steps = 2; steps <= 1000; ++steps) {
    ASSERT_NO_THROW(check_sigmas(uniform_sigmas(steps, 1.0))) << steps;
    ASSERT_NO_THROW(check_sigmas(uniform_sigmas(steps, 2.75))) << steps;
    ASSERT_NO_THROW(check_sigmas(linear_quadratic_sigmas(steps))) << steps;
    ASSERT_NO_THROW(check_sigmas(shifted_sigmas(steps, 777, {0.95, 2.05, 1024, 4096}, 0.1))) << steps;
  }
}

TEST(Schedule, LinearQuadraticEqualsDiffusers) {
  const test::Golden golden("schedule");
  const auto names = golden.below("linear_quadratic/");
  ASSERT_EQ(names.size(), 9u);
  for (const auto& name : names)  // the reference rounds to f32
    expect_close(linear_quadratic_sigmas(std::stoll(name)), golden.numbers("linear_quadratic/" + name), 1e-7, name);
}

TEST(Schedule, LinearQuadraticOfEightIsTheDistilledList) {
  // The list that distilled files carry as allowed_inference_steps, rounded to four places there.
  const std::vector<double> distilled = {1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219};
  expect_close(linear_quadratic_sigmas(8), distilled, 6e-5, "distilled");
}

TEST(Schedule, ShiftedEqualsDiffusersForTokenCountsAndSteps) {
  const test::Golden golden("schedule");
  const auto names = golden.below("shifted/");
  ASSERT_EQ(names.size(), 25u);
  for (const auto& name : names) {
    const auto n = numbers_in(name);
    // e^mu is 2e4 at 17556 tokens, where the reference's f32 is off by 6e-5 itself.
    expect_close(shifted_sigmas(n[1], n[0], {0.95, 2.05, 1024, 4096}, 0.1), golden.numbers("shifted/" + name),
                 n[0] > 10000 ? 2e-4 : 1e-6, name);
  }
}

TEST(Schedule, ShiftedWithoutTerminalEqualsDiffusers) {
  const test::Golden golden("schedule");
  expect_close(shifted_sigmas(6, 777, {0.5, 1.15, 256, 4096}, 0), golden.numbers("shifted_without_terminal/777/6"),
               1e-6, "no terminal");
}

TEST(Schedule, ShiftedEndsAtItsTerminal) {
  for (const int64_t steps : {2, 5, 33})
    EXPECT_NEAR(shifted_sigmas(steps, 2048, {0.95, 2.05, 1024, 4096}, 0.1).back(), 0.1, 1e-12);
}

TEST(Schedule, UniformEqualsTheReferences) {
  const test::Golden golden("schedule");
  for (const int64_t n : {1, 4, 9})
    expect_close(uniform_sigmas(n, 1.0), golden.numbers("uniform/" + std::to_string(n)), 1e-7, "uniform");
  expect_close(uniform_sigmas(5, 3.0), golden.numbers("fixed_shift/3.0/5"), 1e-6, "shift 3");
  expect_close(uniform_sigmas(5, 0.5), golden.numbers("fixed_shift/0.5/5"), 1e-6, "shift 0.5");
}

TEST(Schedule, EveryListFallsFromOneWithinRange) {
  for (int64_t n = 2; n <= 60; ++n) {
    for (const auto& list : {linear_quadratic_sigmas(n), uniform_sigmas(n, 1.0), uniform_sigmas(n, 2.5),
                             shifted_sigmas(n, 6000, {0.95, 2.05, 1024, 4096}, 0.1)}) {
      ASSERT_EQ(list.size(), static_cast<size_t>(n));
      EXPECT_NEAR(list.front(), 1.0, 1e-12);
      EXPECT_NO_THROW(check_sigmas(list)) << n;
    }
  }
}

TEST(Schedule, RefusesWhatCannotBe) {
  expect_error(ErrorCode::invalid_argument, "step", [] { uniform_sigmas(0, 1.0); });
  expect_error(ErrorCode::invalid_argument, "step", [] { linear_quadratic_sigmas(0); });
  expect_error(ErrorCode::invalid_argument, "step", [] { linear_quadratic_sigmas(-3); });
  expect_error(ErrorCode::invalid_argument, "shift", [] { uniform_sigmas(4, 0.0); });
  expect_error(ErrorCode::invalid_argument, "shift", [] { uniform_sigmas(4, std::nan("")); });
  // One stretched step is 0/0 in both references; here it is an error instead of a NaN.
  expect_error(ErrorCode::invalid_argument, "at least 2 steps", [] {
    shifted_sigmas(1, 1024, {0.95, 2.05, 1024, 4096}, 0.1);
  });
}

TEST(Schedule, ExplicitListsAreChecked) {
  EXPECT_NO_THROW(check_sigmas({1.0, 0.5, 0.001}));
  EXPECT_NO_THROW(check_sigmas({0.4}));
  expect_error(ErrorCode::invalid_argument, "empty", [] { check_sigmas({}); });
  expect_error(ErrorCode::invalid_argument, "1.5", [] { check_sigmas({1.5, 0.5}); });
  expect_error(ErrorCode::invalid_argument, "position 1", [] { check_sigmas({1.0, 0.0}); });
  expect_error(ErrorCode::invalid_argument, "position 1", [] { check_sigmas({1.0, -0.1}); });
  expect_error(ErrorCode::invalid_argument, "followed by", [] { check_sigmas({0.5, 0.5}); });
  expect_error(ErrorCode::invalid_argument, "followed by", [] { check_sigmas({0.5, 0.6}); });
  expect_error(ErrorCode::invalid_argument, "position 0", [] { check_sigmas({std::nan("")}); });
}

}  // namespace
}  // namespace ltxv
