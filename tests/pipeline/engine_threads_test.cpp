// One engine from several threads at once.
#include <thread>

#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

TEST(EngineThreads, RunsAtTheSameTimeGiveWhatRunsAloneGive) {
  const auto engine = test::open_tiny();
  constexpr int kThreads = 3;
  std::vector<at::Tensor> alone(kThreads), together(kThreads);
  const auto request = [](int i) {
    auto r = test::small_request(9 + 8 * (i % 2), 2);
    r.seed = static_cast<uint64_t>(i);
    return r;
  };
  for (int i = 0; i < kThreads; ++i) alone[i] = engine->generate(request(i)).frames;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 2; ++round) together[i] = engine->generate(request(i)).frames;
    });
  for (auto& thread : threads) thread.join();
  for (int i = 0; i < kThreads; ++i) EXPECT_MATCHES(together[i], alone[i], 1e-5) << i;
}

TEST(EngineThreads, CancellingOneRunLeavesTheOther) {
  const auto engine = test::open_tiny();
  const auto expected = engine->generate(test::small_request(9, 2)).frames;
  const auto token = std::make_shared<CancelToken>();
  std::string outcome;
  std::thread cancelled([&] {
    try {
      engine->generate(test::small_request(17, 50), {.on_progress =
                                                         [&](const Progress& p) {
                                                           if (p.stage == Stage::denoise && p.step == 1) token->trip();
                                                           return true;
                                                         },
                                                     .cancel = token});
      outcome = "finished";
    } catch (const Cancelled&) {
      outcome = "cancelled";
    }
  });
  const auto frames = engine->generate(test::small_request(9, 2)).frames;
  cancelled.join();
  EXPECT_EQ(outcome, "cancelled");
  EXPECT_MATCHES(frames, expected, 1e-5);
}

TEST(EngineThreads, AnErrorInOneThreadIsThatThreadsOwn) {
  const auto engine = test::open_tiny();
  int errors = 0;
  std::thread failing([&] {
    auto request = test::small_request(9, 2);
    request.noise_path = "/nowhere.safetensors";
    for (int i = 0; i < 5; ++i) {
      try {
        engine->generate(request);
      } catch (const IoError&) {
        ++errors;
      }
    }
  });
  EXPECT_NO_THROW(engine->generate(test::small_request(9, 2)));
  failing.join();
  EXPECT_EQ(errors, 5);
}

TEST(EngineThreads, ManyEnginesMayBeOpen) {
  const auto a = test::open_tiny(), b = test::open_tiny();
  const auto request = test::small_request(9, 1);
  const auto frames = a->generate(request).frames;
  EXPECT_TRUE(at::equal(b->generate(request).frames, frames));
}

}  // namespace
}  // namespace ltxv
