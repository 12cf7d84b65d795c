// The state of a run as plain data: saved, loaded and continued it is the same run.
#include "diffusion/sampler.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_folder.h"

namespace ltxv {
namespace {

using test::expect_error;

SamplerState example(bool conditioned) {
  SamplerState state;
  state.tokens = at::randn({1, 6, 4});
  state.sigmas = {1.0f, 0.9f, 0.7f, 0.3f, 0.0f};
  state.seed = (uint64_t{1} << 63) + 5;
  state.draw_count = 3;
  state.condition_hash = 0xfedcba9876543210;
  if (conditioned) {
    state.strength = at::tensor({0.0f, 0.0f, 0.3f, 0.5f, 1.0f, 1.0f});
    state.clean_tokens = state.tokens.clone();
  }
  return state;
}

// Any function of the state will do as a model.
void run(SamplerState& state, int64_t until) {
  while (state.step < until) euler_step(state, (state.tokens * 1.3).sin());
}

SamplerState through_a_file(const SamplerState& state) {
  const test::TempFolder folder;
  save_tensors(folder / "state.safetensors", state.to_tensors());
  const auto source = open_tensors(folder / "state.safetensors", FileAccess::copy);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : source->entries()) tensors[entry.name] = to_tensor(entry, source).clone();
  return SamplerState::from_tensors(tensors);
}

TEST(SamplerState, EveryFieldComesBack) {
  for (const bool conditioned : {false, true}) {
    const auto state = example(conditioned);
    const auto back = through_a_file(state);
    EXPECT_TRUE(at::equal(back.tokens, state.tokens));
    EXPECT_EQ(back.sigmas, state.sigmas);
    EXPECT_EQ(back.step, state.step);
    EXPECT_EQ(back.seed, state.seed);
    EXPECT_EQ(back.draw_count, state.draw_count);
    EXPECT_EQ(back.condition_hash, state.condition_hash);
    ASSERT_EQ(back.strength.defined(), conditioned);
    if (conditioned) {
      EXPECT_TRUE(at::equal(back.strength, state.strength));
      EXPECT_TRUE(at::equal(back.clean_tokens, state.clean_tokens));
    }
  }
}

TEST(SamplerState, ARunResumedAtAnyStepEndsInTheSameTokens) {
  for (const bool conditioned : {false, true}) {
    const auto start = example(conditioned);
    auto whole = start;
    run(whole, 4);
    for (int64_t stop = 0; stop <= 4; ++stop) {
      auto first = start;
      run(first, stop);
      auto resumed = through_a_file(first);
      EXPECT_EQ(resumed.step, stop);
      run(resumed, 4);
      EXPECT_TRUE(at::equal(resumed.tokens, whole.tokens)) << "stopped at " << stop;
    }
  }
}

TEST(SamplerState, DamagedStatesAreNamed) {
  for (const std::string name : {"tokens", "sigmas", "counters"}) {
    auto tensors = example(false).to_tensors();
    tensors.erase(name);
    expect_error(ErrorCode::bad_weights, "\"" + name + "\" is missing", [&] { SamplerState::from_tensors(tensors); });
  }
  auto tensors = example(false).to_tensors();
  tensors["counters"] = at::zeros({3}, at::kLong);
  expect_error(ErrorCode::bad_weights, "counters", [&] { SamplerState::from_tensors(tensors); });
  tensors = example(false).to_tensors();
  tensors["tokens"] = at::zeros({6, 4});
  expect_error(ErrorCode::bad_weights, "axes", [&] { SamplerState::from_tensors(tensors); });
  tensors = example(true).to_tensors();
  tensors.erase("clean_tokens");
  expect_error(ErrorCode::bad_weights, "clean_tokens", [&] { SamplerState::from_tensors(tensors); });
}

TEST(SamplerState, AStateThatDoesNotFitItselfIsRefused) {
  auto tensors = example(true).to_tensors();
  tensors["strength"] = at::zeros({5}, at::kFloat);  // six tokens
  expect_error(ErrorCode::bad_weights, "strength", [&] { SamplerState::from_tensors(tensors); });
  tensors = example(false).to_tensors();
  tensors["counters"] = at::tensor({int64_t{9}, int64_t{1}, int64_t{1}, int64_t{1}}, at::kLong);  // step 9 of 4
  expect_error(ErrorCode::bad_weights, "step", [&] { SamplerState::from_tensors(tensors); });
}

}  // namespace
}  // namespace ltxv
