// Part of every test program with LibTorch: its own generator, which seeds itself at random, starts each test from the same seed.
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <mutex>

namespace {

class SeedEachTest : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo&) override {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(20240608);
  }
};

class Seeded : public ::testing::Environment {
  void SetUp() override { ::testing::UnitTest::GetInstance()->listeners().Append(new SeedEachTest); }  // which deletes it
};

[[maybe_unused]] const auto* const seeded = ::testing::AddGlobalTestEnvironment(new Seeded);

}  // namespace
