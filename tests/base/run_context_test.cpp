// What a run reports and how it is stopped.
#include "base/run_context.h"

#include <thread>
#include <vector>

#include "support/expect_error.h"

namespace ltxv {
namespace {

using test::expect_error;

TEST(RunContext, WithoutHooksNothingHappens) {
  RunContext run;
  EXPECT_NO_THROW(run.report(Stage::denoise, 1, 4));
  EXPECT_NO_THROW(run.check_cancelled());
  EXPECT_NO_THROW(run.log(LogLevel::warning, "unheard"));
}

TEST(RunContext, ProgressCarriesStageStepAndTime) {
  std::vector<Progress> seen;
  RunContext run({.on_progress = [&](const Progress& p) { return seen.push_back(p), true; }});
  run.report(Stage::text, 0, 2);
  run.report(Stage::denoise, 3, 8);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[1].stage, Stage::denoise);
  EXPECT_EQ(seen[1].step, 3);
  EXPECT_EQ(seen[1].step_count, 8);
  EXPECT_GE(seen[1].elapsed_seconds, seen[0].elapsed_seconds);
}

TEST(RunContext, ACallbackThatReturnsFalseStopsTheRunForGood) {
  int calls = 0;
  RunContext run({.on_progress = [&](const Progress&) { return ++calls < 2; }});
  EXPECT_NO_THROW(run.report(Stage::denoise, 0, 8));
  expect_error(ErrorCode::cancelled, "cancelled", [&] { run.report(Stage::denoise, 1, 8); });
  expect_error(ErrorCode::cancelled, "cancelled", [&] { run.check_cancelled(); });
}

TEST(RunContext, ATokenStopsFromAnotherThread) {
  const auto token = std::make_shared<CancelToken>();
  RunContext run({.cancel = token});
  EXPECT_NO_THROW(run.check_cancelled());
  std::thread([&] { token->trip(); }).join();
  expect_error(ErrorCode::cancelled, "cancelled", [&] { run.check_cancelled(); });
  expect_error(ErrorCode::cancelled, "cancelled", [&] { run.report(Stage::decode, 0, 1); });
}

TEST(RunContext, ATokenServesManyRunsAndStaysTripped) {
  const auto token = std::make_shared<CancelToken>();
  RunContext first({.cancel = token}), second({.cancel = token});
  token->trip();
  token->trip();
  EXPECT_TRUE(token->tripped());
  EXPECT_THROW(first.check_cancelled(), Cancelled);
  EXPECT_THROW(second.check_cancelled(), Cancelled);
}

TEST(RunContext, MessagesCarryTheirLevel) {
  std::vector<std::string> heard;
  RunContext run({.on_log = [&](LogLevel level, const std::string& m) {
    heard.push_back(text(static_cast<int>(level), " ", m));
  }});
  run.log(LogLevel::info, "a");
  run.log(LogLevel::warning, "b");
  EXPECT_EQ(heard, (std::vector<std::string>{"1 a", "2 b"}));
}

}  // namespace
}  // namespace ltxv
