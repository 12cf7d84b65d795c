// Transformer, guidance and sampler together, without text encoder and VAE, against whole runs of the references.
#include "diffusion/guidance.h"
#include "diffusion/noise.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "diffusion/tokens.h"
#include "support/tiny_model.h"
#include "transformer/transformer.h"

namespace ltxv {
namespace {

struct Loop {
  Parameters parameters = test::tiny_parameters("transformer", at::kFloat);
  Transformer transformer{test::tiny_transformer_config(), parameters};

  // Runs all steps and compares the tokens after each one.
  void run(const test::Golden& golden, const std::string& steps, at::Tensor start, const std::vector<double>& sigmas,
           FrameRule rule, const GuidanceSettings& guidance, const Perturbation* perturbation) {
    const auto context = [&](const std::string& name) {
      return transformer.prepare_prompt(golden["in_" + name + "_embeds"], golden["in_" + name + "_mask"]);
    };
    const PromptContext positive = context("positive"), negative = context("negative");
    const auto rope =
        make_rope_table(to_positions(grid_coordinates({3, 2, 3}, {32, 8}, rule), 25), transformer.config());
    SamplerState state{.tokens = std::move(start), .sigmas = {sigmas.begin(), sigmas.end()}};
    state.sigmas.push_back(0);
    const auto expected = golden[steps];
    ASSERT_EQ(expected.size(0), state.step_count());
    std::vector<const PromptContext*> prompts = {&negative, &positive};
    if (perturbation) prompts.push_back(&positive);
    while (!state.finished()) {
      const auto level = token_sigmas(state);
      const auto rows = transformer.forward({state.tokens, transformer.noise_levels(level), rope, prompts, perturbation}, {});
      euler_step(state, combine_guidance(rows.narrow(0, 1, 1), rows.narrow(0, 0, 1),
                                         perturbation ? rows.narrow(0, 2, 1) : at::Tensor(), guidance));
      EXPECT_MATCHES(state.tokens, expected[state.step - 1], 1e-4) << steps << " step " << state.step - 1;
    }
  }
};

TEST(SamplingLoop, SpatioTemporalGuidanceEqualsTheOfficialPipeline) {
  const test::Golden golden("official_loop");
  const Perturbation perturbation{{1}, SkipMode::attention_values};
  Loop().run(golden, "step_tokens", to_tokens(golden["in_initial"]), linear_quadratic_sigmas(4), FrameRule::causal,
             {.scale = 3, .stg_scale = 1, .stg_rescale = 0.7}, &perturbation);
}

TEST(SamplingLoop, ShiftedScheduleAndPlainCoordinatesEqualDiffusers) {
  const test::Golden golden("plain_pipeline");
  Loop loop;
  loop.run(golden, "t2v/step_tokens", to_tokens(golden["t2v/noise/initial"]),
           shifted_sigmas(4, 18, {0.95, 2.05, 1024, 4096}, 0.1), FrameRule::plain, {.scale = 3}, nullptr);
  loop.run(golden, "rescale/step_tokens", to_tokens(golden["rescale/noise/initial"]),
           shifted_sigmas(3, 18, {0.95, 2.05, 1024, 4096}, 0.1), FrameRule::plain, {.scale = 3, .cfg_rescale = 0.7},
           nullptr);
}

}  // namespace
}  // namespace ltxv
