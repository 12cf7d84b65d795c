// Checkpoints that do not describe themselves: known by the names and shapes of their tensors, by their name, or by an option.
#include "pipeline/release.h"

#include <unistd.h>

#include "support/expect_error.h"
#include "support/model_copy.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

using nlohmann::json;
using test::expect_error;
using test::TempFolder;
using Shapes = std::map<std::string, std::vector<int64_t>>;

const json& published() {
  static const json shapes = json::parse(test::read_file(std::string(LTXV_SOURCE_DIR) + "/tests/golden/releases.json"));
  return shapes;
}

/// The tensors of a transformer of `layers` blocks and of a VAE, of which the list holds one block.
Shapes tensors_of(const std::string& transformer, int layers, const std::string& vae, const std::string& transformer_prefix,
                  const std::string& vae_prefix) {
  Shapes out;
  const std::string first = "transformer_blocks.0.";
  if (!transformer.empty()) {
    for (const auto& [name, shape] : published().at(transformer).items()) {
      const bool block = name.starts_with(first);
      for (int i = 0; i < (block ? layers : 1); ++i) {
        const auto own = block ? "transformer_blocks." + std::to_string(i) + "." + name.substr(first.size()) : name;
        out[transformer_prefix + own] = shape.get<std::vector<int64_t>>();
      }
    }
  }
  if (!vae.empty())
    for (const auto& [name, shape] : published().at(vae).items()) out[vae_prefix + name] = shape.get<std::vector<int64_t>>();
  return out;
}

/// A file of these tensors whose data is a hole: it takes no space, and nobody reads it.
std::string write_sparse(const std::string& path, const Shapes& tensors, const std::string& config = "", bool fp8 = false) {
  json header;
  if (!config.empty()) header["__metadata__"]["config"] = config;
  int64_t offset = 0;
  for (const auto& [name, shape] : tensors) {
    int64_t bytes = fp8 ? 1 : 2;
    for (const int64_t size : shape) bytes *= size;
    header[name] = {{"dtype", fp8 ? "F8_E4M3" : "BF16"}, {"shape", shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  const std::string text = header.dump();
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  std::ofstream(path, std::ios::binary) << length << text;
  if (::truncate(path.c_str(), static_cast<off_t>(8 + text.size()) + offset) != 0) throw std::runtime_error("no sparse file");
  return path;
}

struct Published {
  const char *file, *transformer, *vae, *release;
  int layers;
  bool causal;
};

constexpr const char *k2b = "ltxv-2b-0.9.5", *k13b = "ltxv-13b-0.9.8-dev";

class PublishedFiles : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedFiles, AreKnownWithoutADescription) {
  const Published& p = GetParam();
  const TempFolder folder;
  // As published, as other tools save them again, and without prefixes.
  for (const auto& [transformer_prefix, vae_prefix] : std::vector<std::pair<std::string, std::string>>{
           {"model.diffusion_model.", "vae."}, {"diffusion_model.", "first_stage_model."}, {"", ""}, {"", "vae."}}) {
    const auto path = write_sparse(folder / p.file, tensors_of(p.transformer, p.layers, p.vae, transformer_prefix, vae_prefix));
    const auto spec = load_model_spec({.model = path});
    EXPECT_EQ(spec.release, p.release);
    EXPECT_EQ(spec.transformer.width(), p.transformer == std::string(k2b) ? 2048 : 4096);
    EXPECT_EQ(spec.transformer.layer_count, p.layers);
    EXPECT_EQ(spec.transformer.causal_positions, p.causal);
    EXPECT_EQ(spec.schedule.kind, p.causal ? ScheduleSpec::Kind::linear_quadratic : ScheduleSpec::Kind::shifted);
    EXPECT_EQ(spec.vae.latent_channels, 128);
    EXPECT_EQ(spec.preset("").name, "default");
    EXPECT_EQ(spec.preset("").sigmas.empty(), std::string(p.release).find("distilled") == std::string::npos);
    EXPECT_EQ(spec.transformer_files.names.apply(transformer_prefix + "proj_out.weight"), "proj_out.weight");
    EXPECT_EQ(spec.vae_decoder_names.apply(transformer_prefix + "proj_out.weight"), "");
    EXPECT_EQ(spec.vae_decoder_names.apply(vae_prefix + "decoder.conv_in.conv.weight"), "decoder.conv_in.conv.weight");
    EXPECT_EQ(spec.transformer_files.names.apply(vae_prefix + "decoder.conv_in.conv.weight"), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PublishedFiles,
    ::testing::Values(
        Published{"ltx-video-2b-v0.9.safetensors", k2b, "ltxv-0.9.0", "ltxv-2b-0.9.0", 28, false},
        Published{"ltx-video-2b-v0.9.1.safetensors", k2b, "ltxv-0.9.1", "ltxv-2b-0.9.1", 28, false},
        Published{"ltx-video-2b-v0.9.5.safetensors", k2b, "ltxv-0.9.5", "ltxv-2b-0.9.5", 28, true},
        Published{"ltxv-2b-0.9.6-dev-04-25.safetensors", k2b, "ltxv-0.9.5", "ltxv-2b-0.9.6-dev", 28, true},
        Published{"ltxv-2b-0.9.6-distilled-04-25.safetensors", k2b, "ltxv-0.9.5", "ltxv-2b-0.9.6-distilled", 28, true},
        Published{"ltxv-2b-0.9.8-distilled-fp8.safetensors", k2b, "ltxv-0.9.5", "ltxv-2b-0.9.8-distilled", 28, true},
        Published{"ltxv-13b-0.9.7-dev.safetensors", k13b, "ltxv-0.9.5", "ltxv-13b-0.9.7-dev", 48, true},
        Published{"ltxv-13b-0.9.7-distilled.safetensors", k13b, "ltxv-0.9.5", "ltxv-13b-0.9.7-distilled", 48, true},
        Published{"ltxv-13b-0.9.8-dev-fp8.safetensors", k13b, "ltxv-0.9.5", "ltxv-13b-0.9.8-dev", 48, true},
        Published{"ltxv-13b-0.9.8-distilled.safetensors", k13b, "ltxv-0.9.5", "ltxv-13b-0.9.8-distilled", 48, true}));

TEST(Release, ATransformerAloneTakesTheVaeFromElsewhere) {
  const TempFolder folder;
  const auto transformer = write_sparse(folder / "ltxv-13b-0.9.7-distilled.safetensors", tensors_of(k13b, 48, "", "", ""));
  const auto vae = write_sparse(folder / "vae.safetensors", tensors_of("", 0, "ltxv-0.9.5", "", ""));
  expect_error(ErrorCode::bad_weights, transformer + ": holds no LTX-Video VAE; --vae names one",
               [&] { load_model_spec({.model = transformer}); });
  expect_error(ErrorCode::bad_weights, vae + ": holds no LTX-Video transformer", [&] { load_model_spec({.model = vae}); });
  const auto spec = load_model_spec({.model = transformer, .vae = vae});
  EXPECT_EQ(spec.release, "ltxv-13b-0.9.7-distilled");
  EXPECT_EQ(spec.vae_files.path, vae);
  // The other way round: a whole checkpoint with another transformer.
  const auto whole = write_sparse(folder / "ltxv-13b-0.9.8-dev.safetensors", tensors_of(k13b, 48, "ltxv-0.9.5", "", "vae."));
  const auto mixed = load_model_spec({.model = whole, .transformer = transformer});
  EXPECT_EQ(mixed.transformer_files.path, transformer);
  EXPECT_EQ(mixed.vae_files.path, whole);
}

TEST(Release, TheOptionDecidesWhatShapesCannot) {
  const TempFolder folder;
  const auto path = write_sparse(folder / "renamed.safetensors", tensors_of(k2b, 28, "ltxv-0.9.5", "", "vae."));
  EXPECT_EQ(load_model_spec({.model = path}).release, "ltxv-2b-0.9.5");
  const auto spec = load_model_spec({.model = path, .release = "ltxv-2b-0.9.6-distilled"});
  EXPECT_EQ(spec.release, "ltxv-2b-0.9.6-distilled");
  EXPECT_EQ(spec.preset("").sigmas.size(), 8u);
  expect_error(ErrorCode::invalid_argument, "release \"0.9.9\" is not one of", [&] { load_model_spec({.model = path, .release = "0.9.9"}); });
  expect_error(ErrorCode::unsupported, "ltxv-13b-0.9.8-dev has 4096",
               [&] { load_model_spec({.model = path, .release = "ltxv-13b-0.9.8-dev"}); });
}

TEST(Release, AFileMayDescribeAModelOfAnySize) {
  const TempFolder folder;
  auto tensors = tensors_of(k2b, 3, "ltxv-0.9.5", "", "vae.");
  const auto path = write_sparse(folder / "small.safetensors", tensors);
  expect_error(ErrorCode::unsupported, "no description of its own", [&] { load_model_spec({.model = path}); });
  const auto own = folder.write("own.json", R"({"name": "mine", "base": "ltxv-2b-0.9.5", "transformer": {"num_layers": 3},
                                               "presets": {"default": {"width": 96}, "quick": {"num_inference_steps": 4}}})");
  const auto spec = load_model_spec({.model = path, .release = own});
  EXPECT_EQ(spec.release, "mine");
  EXPECT_EQ(spec.transformer.layer_count, 3);
  EXPECT_EQ(spec.transformer.width(), 2048);
  EXPECT_EQ(spec.preset("").width, 96);
  EXPECT_EQ(spec.preset("quick").step_count, 4);
  for (const char* bad : {"[]", "{}", R"({"name": "x", "base": 3})", R"({"name": "x", "base": "own.json"})", R"({"name": "x", "presets": []})",
                          R"({"name": "x", "base": "ltxv-0.9.1", "surprise": 1})", "{"}) {
    const auto wrong = folder.write("wrong.json", bad);
    try {
      load_model_spec({.model = path, .release = wrong});
      ADD_FAILURE() << bad << " was accepted";
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::bad_weights || e.code() == ErrorCode::unsupported || e.code() == ErrorCode::invalid_argument)
          << bad << ": " << e.what();
    }
  }
}

TEST(Release, WhatAUserShouldKnowIsSaid) {
  const TempFolder folder;
  const auto tensors = tensors_of(k13b, 48, "ltxv-0.9.5", "model.diffusion_model.", "vae.");
  const auto fp8 = load_model_spec({.model = write_sparse(folder / "ltxv-13b-0.9.7-dev-fp8.safetensors", tensors, "", true)});
  ASSERT_EQ(fp8.remarks.size(), 2u);
  EXPECT_NE(fp8.remarks[0].find("it is taken for ltxv-13b-0.9.7-dev (--release names another)"), std::string::npos) << fp8.remarks[0];
  EXPECT_NE(fp8.remarks[1].find("if the video is noise"), std::string::npos) << fp8.remarks[1];
  const auto path = write_sparse(folder / "ltxv-13b-0.9.7-dev.safetensors", tensors);
  EXPECT_EQ(load_model_spec({.model = path}).remarks.size(), 1u);
  EXPECT_TRUE(load_model_spec({.model = path, .release = "ltxv-13b-0.9.7-dev"}).remarks.empty());
}

TEST(Release, ADescriptionInTheFileWins) {
  const TempFolder folder;
  json config;
  config["transformer"] = release_named("ltxv-2b-0.9.0").at("transformer");
  config["vae"] = release_named("ltxv-0.9.5+").at("vae");
  config["scheduler"] = release_named("ltxv-0.9.5+").at("scheduler");
  config["transformer"]["causal_temporal_positioning"] = true;
  config["allowed_inference_steps"] = {1.0, 0.5};
  const auto path = write_sparse(folder / "any.safetensors", tensors_of(k2b, 28, "ltxv-0.9.5", "", "vae."), config.dump());
  const auto spec = load_model_spec({.model = path});
  EXPECT_EQ(spec.release, "ltxv-2b-0.9.8-distilled");  // a list of noise levels is what distilled files have
  EXPECT_EQ(spec.preset("").sigmas, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(spec.preset("").guidance_scale, 1);
  // Taken for another release by a user, it still needs no guidance.
  const auto other = load_model_spec({.model = path, .release = "ltxv-2b-0.9.5"}).preset("");
  EXPECT_EQ(other.sigmas, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(other.guidance_scale, 1);
  EXPECT_TRUE(other.pass == PassSettings{});
  // A list of four digits is the release's own, which has more.
  config["allowed_inference_steps"] = {1.0, 0.9937, 0.9875, 0.9812, 0.975, 0.9094, 0.725, 0.4219};
  const auto named = write_sparse(folder / "ltxv-2b-0.9.6-distilled.safetensors", tensors_of(k2b, 28, "ltxv-0.9.5", "", "vae."), config.dump());
  EXPECT_EQ(load_model_spec({.model = named}).preset("").sigmas[1], 0.99375);
  EXPECT_EQ(spec.schedule.kind, ScheduleSpec::Kind::linear_quadratic);
}

TEST(Release, DescriptionsEqualThoseOfDiffusers) {
  // diffusers' configurations of the same autoencoders; arrays as AutoencoderKLLTXVideo writes them.
  const json common = {{"_class_name", "AutoencoderKLLTXVideo"}, {"in_channels", 3}, {"out_channels", 3}, {"latent_channels", 128},
                       {"patch_size", 4}, {"patch_size_t", 1}, {"resnet_norm_eps", 1e-6}, {"scaling_factor", 1.0},
                       {"encoder_causal", true}, {"decoder_causal", false}};
  json old = common, folded = common;
  old.update({{"block_out_channels", {128, 256, 512, 512}}, {"layers_per_block", {4, 3, 3, 3, 4}},
              {"spatio_temporal_scaling", {true, true, true, false}}, {"decoder_block_out_channels", {128, 256, 512, 512}},
              {"decoder_layers_per_block", {4, 3, 3, 3, 4}}, {"decoder_spatio_temporal_scaling", {true, true, true, false}},
              {"decoder_inject_noise", {false, false, false, false, false}}, {"upsample_residual", {false, false, false, false}},
              {"upsample_factor", {1, 1, 1, 1}}, {"timestep_conditioning", false}});
  folded.update({{"block_out_channels", {128, 256, 512, 1024, 2048}}, {"layers_per_block", {4, 6, 6, 2, 2}},
                 {"down_block_types", json::array({"LTXVideo095DownBlock3D", "LTXVideo095DownBlock3D", "LTXVideo095DownBlock3D",
                                                   "LTXVideo095DownBlock3D"})},
                 {"downsample_type", {"spatial", "temporal", "spatiotemporal", "spatiotemporal"}},
                 {"spatio_temporal_scaling", {true, true, true, true}}, {"decoder_block_out_channels", {256, 512, 1024}},
                 {"decoder_layers_per_block", {5, 5, 5, 5}}, {"decoder_spatio_temporal_scaling", {true, true, true}},
                 {"decoder_inject_noise", {false, false, false, false}}, {"upsample_residual", {true, true, true}},
                 {"upsample_factor", {2, 2, 2}}, {"timestep_conditioning", true}, {"spatial_compression_ratio", 32},
                 {"temporal_compression_ratio", 8}});
  json timed = folded;
  for (const char* key : {"block_out_channels", "layers_per_block", "spatio_temporal_scaling"}) timed[key] = old[key];
  for (const char* key : {"down_block_types", "downsample_type"}) timed.erase(key);
  timed["decoder_layers_per_block"] = {5, 6, 7, 8};
  timed["decoder_inject_noise"] = {true, true, true, false};
  for (const auto& [name, config] : {std::pair<const char*, json>{"ltxv-0.9.0", old}, {"ltxv-0.9.1", timed}, {"ltxv-0.9.5+", folded}})
    EXPECT_TRUE(vae_config_from_original(release_named(name).at("vae"), name) == vae_config_from_diffusers(config, name).config) << name;
}

}  // namespace
}  // namespace ltxv
