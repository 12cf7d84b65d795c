// The presets of the published releases against the settings LTX-Video publishes with each checkpoint.
#include <nlohmann/json.hpp>
#include <set>

#include "diffusion/schedule.h"
#include "pipeline/builtin_specs.h"
#include "pipeline/release.h"
#include "pipeline/request.h"
#include "pipeline/spec_files.h"
#include "support/expect_error.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

using nlohmann::json;
using test::expect_error;
using Numbers = std::vector<double>;

// One pass as the configuration file writes it; a list has one entry where the file has a number.
struct Pass {
  Numbers timesteps;
  int64_t steps = 0, skip_initial = 0, skip_final = 0;
  Numbers guidance_timesteps, guidance_scale, stg_scale, rescaling_scale;
  std::vector<std::vector<int64_t>> skip_block_list;
  bool cfg_star = false;
  double tone_map = 0;
};

struct Published {
  const char *release, *preset;
  Pass first;
  std::optional<Pass> second = {};
  bool stochastic = false;
};

// Source: github.com/Lightricks/LTX-Video, configs/*.yaml; those of 0.9.7 as of commit 98a0ce6 (July 2025).
// ltxv-2b-0.9.yaml, ltxv-2b-0.9.1.yaml, ltxv-2b-0.9.5.yaml, ltxv-2b-0.9.6-dev.yaml
const Pass kBase = {.steps = 40, .guidance_scale = {3}, .stg_scale = {1}, .rescaling_scale = {0.7}, .skip_block_list = {{19}}};
// ltxv-2b-0.9.6-distilled.yaml
const Pass kEightSteps = {.steps = 8, .guidance_scale = {1}, .stg_scale = {0}, .rescaling_scale = {1}};
// ltxv-13b-0.9.7-dev.yaml, ltxv-13b-0.9.8-dev.yaml, and both with -fp8
const Pass kDevFirst = {.steps = 30,
                        .skip_final = 3,
                        .guidance_timesteps = {1.0, 0.996, 0.9933, 0.9850, 0.9767, 0.9008, 0.6180},
                        .guidance_scale = {1, 1, 6, 8, 6, 1, 1},
                        .stg_scale = {0, 0, 4, 4, 4, 2, 1},
                        .rescaling_scale = {1, 1, 0.5, 0.5, 1, 1, 1},
                        .skip_block_list = {{}, {11, 25, 35, 39}, {22, 35, 39}, {28}, {28}, {28}, {28}},
                        .cfg_star = true};
const Pass kDevSecond = {.steps = 30,
                         .skip_initial = 17,
                         .guidance_timesteps = {1.0},
                         .guidance_scale = {1},
                         .stg_scale = {1},
                         .rescaling_scale = {1},
                         .skip_block_list = {{27}},
                         .cfg_star = true};
// ltxv-13b-0.9.7-distilled.yaml, ltxv-2b-0.9.8-distilled.yaml, ltxv-13b-0.9.8-distilled.yaml, and with -fp8; only the last has a tone map
const Pass kDistilledFirst = {.timesteps = {1.0000, 0.9937, 0.9875, 0.9812, 0.9750, 0.9094, 0.7250},
                              .guidance_scale = {1},
                              .stg_scale = {0},
                              .rescaling_scale = {1},
                              .skip_block_list = {{42}}};
const Pass kDistilledSecond = {
    .timesteps = {0.9094, 0.7250, 0.4219}, .guidance_scale = {1}, .stg_scale = {0}, .rescaling_scale = {1}, .skip_block_list = {{42}}};

Pass changed(Pass pass, const std::function<void(Pass&)>& change) {
  change(pass);
  return pass;
}
// One pass over all levels; the files have none for these checkpoints. The first pass's guidance, and the levels of both passes.
const Pass kDevAlone = changed(kDevFirst, [](Pass& p) { p.skip_final = 0; });
const Pass kDistilledAlone = changed(kDistilledFirst, [](Pass& p) { p.timesteps.push_back(0.4219); });
const Pass kToneMapped = changed(kDistilledSecond, [](Pass& p) { p.tone_map = 0.6; });

const Published kPublished[] = {
    {"ltxv-2b-0.9.0", "default", kBase},
    {"ltxv-2b-0.9.1", "default", kBase},
    {"ltxv-2b-0.9.5", "default", kBase},
    {"ltxv-2b-0.9.6-dev", "default", kBase},
    {"ltxv-2b-0.9.6-distilled", "default", kEightSteps, {}, true},
    {"ltxv-2b-0.9.8-distilled", "default", kDistilledAlone},
    {"ltxv-2b-0.9.8-distilled", "multiscale", kDistilledFirst, kDistilledSecond},
    {"ltxv-13b-0.9.7-dev", "default", kDevAlone},
    {"ltxv-13b-0.9.7-dev", "multiscale", kDevFirst, kDevSecond},
    {"ltxv-13b-0.9.7-distilled", "default", kDistilledAlone},
    {"ltxv-13b-0.9.7-distilled", "multiscale", kDistilledFirst, kDistilledSecond},
    {"ltxv-13b-0.9.8-dev", "default", kDevAlone},
    {"ltxv-13b-0.9.8-dev", "multiscale", kDevFirst, kDevSecond},
    {"ltxv-13b-0.9.8-distilled", "default", kDistilledAlone},
    {"ltxv-13b-0.9.8-distilled", "multiscale", kDistilledFirst, kToneMapped},
};

// A model of that release without files.
ModelSpec released(const std::string& name, bool upsampler = false) {
  const json release = release_named(name);
  ModelSpec spec;
  spec.name = name;
  bool causal = false;
  if (release.contains("transformer")) spec.transformer = transformer_config_from_original(release.at("transformer"), name, &causal);
  spec.vae = vae_config_from_original(release.at("vae"), name);
  spec.schedule = schedule_from_original(release.at("scheduler"), name);
  apply_release(release, spec, causal);
  if (upsampler) spec.upsamplers.push_back({"up.safetensors", {.channels = 128}});
  return spec;
}

// The noise levels of a pass. Source: LTX-Video pipeline_ltx_video.py, retrieve_timesteps: an explicit list is not cut.
Numbers levels(const Pass& pass, const ModelSpec& spec, const LatentShape& latent) {
  if (!pass.timesteps.empty()) return pass.timesteps;
  const auto all = spec.schedule.kind == ScheduleSpec::Kind::linear_quadratic
                       ? linear_quadratic_sigmas(pass.steps)
                       : shifted_sigmas(pass.steps, latent.token_count(), {0.95, 2.05, 1024, 4096}, 0.1);
  return {all.begin() + pass.skip_initial, all.end() - pass.skip_final};
}

// Source: the same file, __call__: guidance_mapping; rescaling acts where stg_scale > 0, projection where guidance_scale > 1.
void expect_pass(const Pass& pass, const ResolvedRequest& r, const ModelSpec& spec) {
  const Numbers expected = levels(pass, spec, r.latent);
  ASSERT_EQ(r.sigmas.size(), expected.size());
  ASSERT_EQ(r.guidance.size(), expected.size());
  bool negative = false, perturbed = false;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(r.sigmas[i], expected[i], 1e-7) << i;
    size_t bin = 0;
    const auto& bins = pass.guidance_timesteps;
    while (bin < bins.size() && !(static_cast<float>(bins[bin]) <= static_cast<float>(expected[i]))) ++bin;
    if (!bins.empty()) bin = std::min(bin, bins.size() - 1);
    const auto entry = [&](const auto& list) { return list.size() == 1 ? list[0] : list[bin]; };
    EXPECT_EQ(r.guidance[i].scale, entry(pass.guidance_scale)) << i;
    EXPECT_EQ(r.guidance[i].stg_scale, entry(pass.stg_scale)) << i;
    negative = negative || entry(pass.guidance_scale) > 1;
    if (entry(pass.stg_scale) <= 0) continue;
    perturbed = true;
    EXPECT_EQ(r.guidance[i].rescale, entry(pass.rescaling_scale)) << i;
    EXPECT_EQ(r.guidance[i].skip_blocks, entry(pass.skip_block_list)) << i;
  }
  if (negative) {
    EXPECT_EQ(r.request.cfg_star, pass.cfg_star);
  }
  // Beside plain guidance a rescale would be another one, which no published file has.
  if (!perturbed) {
    EXPECT_EQ(r.request.guidance_rescales, Numbers{0});
  }
  EXPECT_EQ(r.request.stg_mode, "attention_values");
}

TEST(Presets, ResolveToThePublishedSettings) {
  for (const Published& p : kPublished) {
    SCOPED_TRACE(std::string(p.release) + " " + p.preset);
    const auto spec = released(p.release, p.second.has_value());
    const auto r = resolve({.prompt = "x", .preset = p.preset}, spec);
    ASSERT_EQ(r.second_pass.size(), p.second ? 1u : 0u);
    expect_pass(p.first, r, spec);
    EXPECT_EQ(r.request.stochastic, p.stochastic);
    // decode_timestep, decode_noise_scale of every file
    EXPECT_EQ(r.request.decode_timestep, 0.05);
    EXPECT_EQ(r.request.decode_noise_scale, 0.025);
    if (!p.second) continue;
    const ResolvedRequest& last = r.last_pass();
    expect_pass(*p.second, last, spec);
    EXPECT_EQ(r.request.second_pass.downscale, 0.6666666);  // downscale_factor
    EXPECT_EQ(last.request.second_pass.tone_map, p.second->tone_map);
    EXPECT_EQ(last.request.second_pass.adain, 1.0);  // the default of adain_filter_latent
    EXPECT_EQ(last.request.stochastic, false);
    // inference.py, InferenceConfig: width, height, num_frames, frame_rate, image_cond_noise_scale
    EXPECT_EQ(r.asked, (PixelShape{121, 704, 1216}));
    EXPECT_EQ(r.request.frames_per_second, 30);
    EXPECT_EQ(r.request.image_noise_scale, 0.15);
    EXPECT_EQ(last.request.image_noise_scale, 0.15);
  }
}

TEST(Presets, OfEveryReleaseResolveOrNameTheUpscaler) {
  std::set<std::string> known;
  for (const Published& p : kPublished) known.insert(text(p.release, " ", p.preset));
  for (const auto content : builtin_spec_texts()) {
    const auto name = json::parse(content).at("name").get<std::string>();
    const auto spec = released(name);
    EXPECT_EQ(spec.preset("").name, "default") << name;
    for (const Preset& p : spec.presets) {
      const auto label = text(name, " ", p.name);
      // "distilled": for checkpoints that a LoRA distils; releases known by shapes alone have no settings of their own.
      const bool published = name.starts_with("ltxv-2b") || name.starts_with("ltxv-13b");
      EXPECT_EQ(known.count(label), published && p.name != "distilled" ? 1u : 0u) << label;
      const auto run = [&](bool upsampler) { return resolve({.prompt = "x", .preset = p.name}, released(name, upsampler)); };
      EXPECT_NO_THROW(run(true)) << label;
      if (!p.second_pass) {
        EXPECT_NO_THROW(run(false)) << label;
        continue;
      }
      expect_error(ErrorCode::invalid_argument,
                   text("preset \"", p.name,
                        "\" makes two passes and needs a latent upsampler: --upscaler names one, --passes 1 does without"),
                   [&] { run(false); });
    }
  }
}

TEST(Presets, AnUpscalerAlonePicksTheTwoPasses) {
  EXPECT_EQ(resolve({.prompt = "x"}, released("ltxv-13b-0.9.8-dev", true)).request.preset, "multiscale");
  EXPECT_EQ(resolve({.prompt = "x"}, released("ltxv-13b-0.9.8-dev")).request.preset, "default");
  EXPECT_EQ(resolve({.prompt = "x", .pass_count = 1}, released("ltxv-13b-0.9.8-dev", true)).request.preset, "default");
}

TEST(Presets, GiveWayOptionByOption) {
  const auto spec = released("ltxv-13b-0.9.8-dev", true);
  Request ask{.prompt = "x"};
  ask.guidance_scales = {2}, ask.cfg_star = false, ask.skip_last_steps = 0;
  ask.second_pass.skip_first_steps = 0, ask.second_pass.cfg_star = false, ask.second_pass.stg_scales = {0};
  auto r = resolve(ask, spec);
  EXPECT_EQ(r.sigmas, linear_quadratic_sigmas(30));
  EXPECT_EQ(r.last_pass().sigmas, linear_quadratic_sigmas(30));
  EXPECT_EQ(r.request.cfg_star, false);
  EXPECT_EQ(r.last_pass().request.cfg_star, false);
  EXPECT_EQ(r.request.stg_scales, kDevFirst.stg_scale);  // not asked about
  EXPECT_EQ(r.last_pass().request.guidance_rescales, Numbers{0});
  // A schedule of one's own is not cut by the preset's counts, but by one's own.
  EXPECT_EQ(resolve({.prompt = "x", .step_count = 10}, spec).sigmas, linear_quadratic_sigmas(10));
  EXPECT_EQ(resolve({.prompt = "x", .step_count = 10, .skip_last_steps = 4}, spec).sigmas.size(), 6u);
  // Without spatio-temporal guidance its rescaling goes too; one that is asked for stays.
  ask = {.prompt = "x", .stg_scales = {0}};
  EXPECT_EQ(resolve(ask, spec).request.guidance_rescales, Numbers{0});
  ask.guidance_rescale = 0.7;
  EXPECT_EQ(resolve(ask, spec).request.guidance_rescales, Numbers{0.7});
  ask = {.prompt = "x", .guidance_timesteps = {1.0, 0.5}};
  expect_error(ErrorCode::invalid_argument,
               "7 entries; one, or one for each of the 2 guidance timesteps is needed (lists that are not given are the preset's)",
               [&] { resolve(ask, spec); });
  ask.guidance_scales = {1, 6}, ask.stg_scales = {0, 4}, ask.guidance_rescales = {1}, ask.skip_blocks = {{28}};
  EXPECT_EQ(resolve(ask, spec).guidance.back(), (StepGuidance{6, 4, 1, {28}}));
}

TEST(Presets, SwitchesCanBeTurnedOff) {
  const auto spec = released("ltxv-2b-0.9.6-distilled");
  EXPECT_EQ(resolve({.prompt = "x"}, spec).request.stochastic, true);
  EXPECT_EQ(resolve({.prompt = "x", .stochastic = false}, spec).request.stochastic, false);
  // Windows bring their own sampler: what a preset says is no contradiction, what a request says is.
  Request windows{.prompt = "x"};
  windows.window.frame_count = 80;
  EXPECT_EQ(resolve(windows, spec).request.stochastic, false);
  windows.stochastic = true;
  expect_error(ErrorCode::invalid_argument, "window-frames and stochastic exclude each other", [&] { resolve(windows, spec); });
}

TEST(Presets, AnswersThatDifferFromThePresetStandInTheRequest) {
  auto spec = released("ltxv-2b-0.9.6-distilled");
  const auto j = json::parse(to_json(resolve({.prompt = "x", .stochastic = false}, spec), spec));
  EXPECT_EQ(j.at("stochastic"), false);
  spec = released("ltxv-13b-0.9.8-dev", true);
  const auto both = json::parse(to_json(resolve({.prompt = "x", .cfg_star = false}, spec), spec));
  EXPECT_EQ(both.at("cfg_star"), false);
  EXPECT_EQ(both.at("guidance_timesteps"), json(kDevFirst.guidance_timesteps));
  EXPECT_EQ(both.at("guidance_scale"), json(kDevFirst.guidance_scale));
  EXPECT_EQ(both.at("stg_scale"), json(kDevFirst.stg_scale));
  EXPECT_EQ(both.at("guidance_rescale"), json(kDevFirst.rescaling_scale));
  EXPECT_EQ(both.at("skip_blocks"), json(kDevFirst.skip_block_list));
  EXPECT_EQ(both.at("sigmas").size(), 27u);
  EXPECT_EQ(both.at("pass2_cfg_star"), true);
  EXPECT_EQ(both.at("pass2_stochastic"), false);
  EXPECT_EQ(both.at("pass2_guidance_timesteps"), json({1.0}));
  EXPECT_EQ(both.at("pass2_sigmas").size(), 13u);
  EXPECT_EQ(both.at("pass2_stg_mode"), "attention_values");
}

TEST(Presets, AreDescribedInFull) {
  const auto j = describe_presets(released("ltxv-13b-0.9.8-distilled"));
  EXPECT_EQ(j.size(), 2u);
  EXPECT_EQ(j.at("default").at("passes"), 1);
  EXPECT_EQ(j.at("default").at("num_inference_steps"), 8);
  const auto& both = j.at("multiscale");
  EXPECT_EQ(both.at("needs"), "a spatial upscaler");
  EXPECT_EQ(both.at("second_pass").at("tone_map"), 0.6);
  EXPECT_EQ(both.at("second_pass").at("sigmas"), nlohmann::ordered_json(kDistilledSecond.timesteps));
  EXPECT_EQ(describe_presets(released("ltxv-13b-0.9.8-dev")).at("default").at("skip_blocks"), ";11,25,35,39;22,35,39;28;28;28;28");
}

}  // namespace
}  // namespace ltxv
