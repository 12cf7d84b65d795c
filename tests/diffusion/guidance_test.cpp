// Guidance rules against one step of ltx_video's pipeline and diffusers' rescale.
#include "diffusion/guidance.h"

#include "support/golden.h"

namespace ltxv {
namespace {

TEST(Guidance, EqualsTheOfficialPipelineForEverySetting) {
  const test::Golden golden("guidance");
  for (const std::string name :
       {"cfg", "cfg_star", "stg", "stg_rescale", "cfg_stg", "cfg_stg_rescale", "star_stg_rescale", "none"}) {
    const auto s = golden.numbers(name + "/in_settings");
    const GuidanceSettings settings{.scale = s[0], .stg_scale = s[1], .stg_rescale = s[2], .cfg_star = s[3] != 0};
    const auto rows = golden[name + "/in_predictions"];
    // Rows of the official batch: [negative,] positive [, perturbed].
    int64_t row = 0;
    const auto negative = settings.needs_negative() ? rows.narrow(0, row++, 1) : at::Tensor();
    const auto positive = rows.narrow(0, row++, 1);
    const auto perturbed = settings.needs_perturbed() ? rows.narrow(0, row++, 1) : at::Tensor();
    ASSERT_EQ(rows.size(0), row) << name << ": the official pipeline ran other passes than the settings ask for";
    const auto velocity = combine_guidance(positive, negative, perturbed, settings);
    EXPECT_MATCHES(velocity, golden[name + "/velocity"], 2e-6) << name;
  }
}

TEST(Guidance, RescaleAfterPlainGuidanceEqualsDiffusers) {
  const test::Golden golden("guidance");
  const auto rows = golden["cfg/in_predictions"];
  for (const std::string amount : {"0.3", "0.7", "1.0"}) {
    const auto velocity = combine_guidance(rows.narrow(0, 1, 1), rows.narrow(0, 0, 1), {},
                                           {.scale = 3, .cfg_rescale = std::stod(amount)});
    EXPECT_MATCHES(velocity, golden["diffusers_rescale/" + amount], 2e-6) << amount;
  }
}

TEST(Guidance, PassesAreAskedForOnlyWhereTheyAct) {
  EXPECT_FALSE(GuidanceSettings{.scale = 1}.needs_negative());
  EXPECT_TRUE(GuidanceSettings{.scale = 1.01}.needs_negative());
  EXPECT_FALSE(GuidanceSettings{.stg_scale = 0}.needs_perturbed());
  EXPECT_TRUE(GuidanceSettings{.stg_scale = 0.1}.needs_perturbed());
}

TEST(Guidance, WithoutAnyItIsThePositivePrediction) {
  const auto positive = at::randn({1, 4, 3});
  EXPECT_TRUE(at::equal(combine_guidance(positive, {}, {}, {}), positive));
  // stg_rescale acts only together with stg_scale, unlike cfg_rescale.
  EXPECT_TRUE(at::equal(combine_guidance(positive, {}, {}, {.stg_rescale = 0.5}), positive));
}

}  // namespace
}  // namespace ltxv
