// When predictions are recorded and replayed, and what happens when that fails. A recorder that pretends: on the CPU recording computes.
#include "pipeline/prediction_graphs.h"

#include "pipeline/engine_fixture.h"
#include "pipeline/spec_files.h"

namespace ltxv {
namespace {

struct Counts {
  int made = 0, begun = 0, ended = 0, replayed = 0, given_up = 0;
  bool fails = false;
};

class Pretended : public ops::RecordedWork {
 public:
  explicit Pretended(Counts& counts) : counts_(counts) { ++counts_.made; }
  void begin(RecordedWork*) override {
    ++counts_.begun;
    TORCH_CHECK(!counts_.fails, "operation not permitted when stream is capturing");
  }
  void end() override { ++counts_.ended; }
  void give_up() noexcept override { ++counts_.given_up; }
  void replay() override { ++counts_.replayed; }

 private:
  Counts& counts_;
};

class Graphs : public ::testing::Test {
 protected:
  Graphs() {
    const c10::InferenceMode inference;
    const auto spec = load_model_spec({.model = test::golden_path("tiny_model")});
    Parameters parameters(open_component_folder(test::golden_path("tiny_model/transformer")), spec.transformer_files.names, at::kFloat, "transformer");
    transformer_ = std::make_unique<Transformer>(spec.transformer, parameters);
    channels_ = spec.transformer.in_channels;
    prompt_ = transformer_->prepare_prompt(at::randn({1, 5, spec.transformer.caption_channels}), at::ones({1, 5}, at::kLong));
  }
  // One prediction of `tokens` tokens through the graphs, and as usual.
  std::pair<at::Tensor, at::Tensor> call(const PredictionGraphs::Lease& lease, int64_t tokens, const RunContext& run = {}) {
    const auto x = at::randn({1, tokens, channels_});
    const auto rope = transformer_->rope_table(at::rand({3, tokens}));
    const auto levels = transformer_->noise_levels(at::full({1}, 0.5f));
    const StepInputs in{.tokens = x, .levels = levels, .rope = rope, .prompts = {&prompt_}};
    const auto expected = transformer_->forward(in, run);
    return {graphs_.forward(*transformer_, lease, in, run), expected};
  }
  void expect_same(const PredictionGraphs::Lease& lease, int64_t tokens, const RunContext& run = {}) {
    const auto [actual, expected] = call(lease, tokens, run);
    EXPECT_TRUE(at::equal(actual, expected)) << tokens;
  }

  Counts counts_;
  PredictionGraphs graphs_{[this] { return std::make_unique<Pretended>(counts_); }};
  std::unique_ptr<Transformer> transformer_;
  PromptContext prompt_;
  int64_t channels_ = 0;
};

TEST_F(Graphs, TheSecondCallOfAShapeRecordsAndLaterOnesReplay) {
  const auto lease = graphs_.lease();
  ASSERT_TRUE(lease);
  expect_same(lease, 6);
  EXPECT_EQ(counts_.made, 0);
  expect_same(lease, 6);
  EXPECT_EQ(std::tuple(counts_.begun, counts_.ended, counts_.replayed), std::tuple(1, 1, 1));
  call(lease, 6);  // a pretended replay computes nothing, so there is nothing to compare
  EXPECT_EQ(std::tuple(counts_.made, counts_.replayed), std::tuple(1, 2));
  expect_same(lease, 9);  // another shape is another recording
  expect_same(lease, 9);
  EXPECT_EQ(std::tuple(counts_.made, counts_.replayed), std::tuple(2, 3));
}

TEST_F(Graphs, OneRunAtATime) {
  auto first = std::make_unique<PredictionGraphs::Lease>(graphs_.lease());
  EXPECT_TRUE(*first);
  EXPECT_FALSE(graphs_.lease());
  first.reset();
  EXPECT_TRUE(graphs_.lease());
}

TEST_F(Graphs, ARecordingThatFailsIsLoggedOnceAndComputed) {
  counts_.fails = true;
  std::vector<std::string> log;
  RunHooks hooks;
  hooks.on_log = [&](LogLevel level, const std::string& message) {
    EXPECT_EQ(level, LogLevel::warning);
    log.push_back(message);
  };
  const RunContext run(hooks);
  const auto lease = graphs_.lease();
  for (int i = 0; i < 4; ++i) expect_same(lease, 6, run);
  EXPECT_EQ(std::tuple(counts_.begun, counts_.given_up, counts_.replayed), std::tuple(1, 1, 0));
  ASSERT_EQ(log.size(), 1u);
  EXPECT_NE(log[0].find("could not be recorded"), std::string::npos) << log[0];
  EXPECT_NE(log[0].find("not permitted when stream is capturing"), std::string::npos) << log[0];
}

TEST_F(Graphs, TheOldestShapesAreLetGoOf) {
  const auto lease = graphs_.lease();
  for (const int64_t tokens : {3, 4, 5, 6, 7})
    for (int i = 0; i < 2; ++i) expect_same(lease, tokens);
  EXPECT_EQ(counts_.made, 5);
  call(lease, 7);  // still there
  expect_same(lease, 3);  // gone: begins anew
  EXPECT_EQ(counts_.made, 5);
  expect_same(lease, 3);
  EXPECT_EQ(counts_.made, 6);
}

}  // namespace
}  // namespace ltxv
