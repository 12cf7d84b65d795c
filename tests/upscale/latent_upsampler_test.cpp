// The upsampling network against diffusers, and how its files are read.
#include "upscale/latent_upsampler.h"

#include "pipeline/spec_files.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/made_upsampler.h"

namespace ltxv {
namespace {

using test::expect_error;

UpsamplerConfig config_of(const test::Golden& golden, const std::string& name) {
  const auto n = golden.numbers(name + "/in_config");
  const auto whole = [&](int i) { return static_cast<int64_t>(n[i]); };
  return {.channels = whole(0), .width = whole(1), .blocks_a_stage = whole(2), .per_frame = n[3] == 2, .spatial = n[4] != 0,
          .temporal = n[5] != 0};
}

LatentUpsampler load(const std::string& path, at::ScalarType dtype = at::kFloat) {
  const auto part = load_upsampler_spec(path);
  const auto source = std::filesystem::is_directory(part.path) ? open_component_folder(part.path) : open_tensors(part.path);
  Parameters parameters(source, {}, dtype, "latent upsampler");
  return LatentUpsampler(part.config, parameters);
}

TEST(LatentUpsampler, EqualsDiffusersInEveryKindAndBothForms) {
  const test::Golden golden("upscale");
  const test::TempFolder folder;
  const auto latents = test::made("latents", {1, 8, 3, 3, 5}, 2.0f);
  const RunContext run;
  for (const std::string name : {"spatial", "temporal", "both", "plane"}) {
    const auto config = config_of(golden, name);
    for (const auto& path : {test::write_upsampler_file(folder, name + ".safetensors", config), test::write_upsampler_folder(folder, name, config)}) {
      const auto network = load(path);
      EXPECT_EQ(network.config(), config) << path;
      const auto out = network.forward(latents, run);
      EXPECT_MATCHES(out, golden[name + "/out"], 2e-5) << path;
      const auto shape = upsampled({3, 3, 5}, config);
      EXPECT_EQ(out.sizes(), at::IntArrayRef({1, 8, shape.frames, shape.height, shape.width})) << path;
    }
  }
}

TEST(LatentUpsampler, ReducedPrecisionStaysNear) {
  const test::Golden golden("upscale");
  const test::TempFolder folder;
  const auto network = load(test::write_upsampler_file(folder, "u.safetensors", config_of(golden, "spatial")), at::kBFloat16);
  // Nine convolutions in a row with 8 bits of mantissa each.
  EXPECT_LT(test::relative_rms(network.forward(test::made("latents", {1, 8, 3, 3, 5}, 2.0f), {}), golden["spatial/out"]), 0.05);
}

TEST(LatentUpsampler, AFileWithoutDescriptionIsReadByItsShapes) {
  const test::Golden golden("upscale");
  const test::TempFolder folder;
  for (const std::string name : {"spatial", "temporal", "both", "plane"}) {
    const auto config = config_of(golden, name);
    save_tensors(folder / "bare.safetensors", test::made_upsampler_tensors(config));
    EXPECT_EQ(load_upsampler_spec(folder / "bare.safetensors").config, config) << name;
  }
}

TEST(LatentUpsampler, APipelineFolderIsSearchedForTheNetwork) {
  const test::TempFolder folder;
  test::write_upsampler_folder(folder, "latent_upsampler", {.channels = 8, .width = 32, .blocks_a_stage = 1});
  EXPECT_EQ(load_upsampler_spec(folder.path()).path, folder / "latent_upsampler");
}

TEST(LatentUpsampler, DamagedFilesAreNamed) {
  const UpsamplerConfig config{.channels = 8, .width = 32, .blocks_a_stage = 1};
  const test::TempFolder folder;
  const auto with = [&](const std::string& description, std::map<std::string, at::Tensor> tensors) {
    save_tensors(folder / "u.safetensors", tensors, {{"config", description}});
    return folder / "u.safetensors";
  };
  const auto good = test::made_upsampler_tensors(config);
  const auto refuses = [&](const std::string& part, const std::string& path, ErrorCode code = ErrorCode::bad_weights) {
    expect_error(code, part, [&] { load(path); });
  };
  refuses("no such file or folder", folder / "missing.safetensors", ErrorCode::io);
  refuses("is not a JSON object", with("[1", good));
  refuses("\"_class_name\" is LTX2LatentUpsampler", with("{\"_class_name\": \"LTX2LatentUpsampler\"}", good), ErrorCode::unsupported);
  refuses("\"rational_spatial_scale\"", with("{\"rational_spatial_scale\": 1.5}", good), ErrorCode::unsupported);
  auto other = config;
  other.width = 64;
  refuses("says 8 latent channels, width 64, 1 blocks a stage, 3 dimensions, spatial; the tensors are of 8 latent channels, width 32",
          with(test::upsampler_json(other, "LatentUpsampler"), good));
  other = config;
  other.spatial = false;
  refuses("neither spatial_upsample nor temporal_upsample", with(test::upsampler_json(other, "LatentUpsampler"), good));

  auto tensors = good;
  tensors.erase("initial_conv.weight");
  refuses("not a latent upsampler: tensor \"initial_conv.weight\" is missing", with("{}", tensors));
  tensors = good;
  tensors.erase("res_blocks.0.norm2.bias");
  refuses("res_blocks.0.norm2.bias", with(test::upsampler_json(config, "LatentUpsampler"), tensors));
  tensors = good;
  tensors["stray.weight"] = at::zeros({1});
  refuses("stray.weight", with(test::upsampler_json(config, "LatentUpsampler"), tensors));
  tensors = good;
  tensors["upsampler.0.weight"] = at::zeros({96, 32, 3, 3});
  refuses("makes 96 channels of 32", with(test::upsampler_json(config, "LatentUpsampler"), tensors));
}

TEST(LatentUpsampler, LatentsOfAnotherWidthAreRefused) {
  const test::TempFolder folder;
  const auto network = load(test::write_upsampler_file(folder, "u.safetensors", {.channels = 8, .width = 32, .blocks_a_stage = 1}));
  expect_error(ErrorCode::invalid_argument, "[B, 8, T, H, W] is needed", [&] { network.forward(at::zeros({1, 4, 1, 2, 2}), {}); });
}

}  // namespace
}  // namespace ltxv
