// Configurations of both layouts: what is read, and what is refused with the key named.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

using nlohmann::json;

json case_info(const std::string& name) {
  json info;
  std::ifstream(std::string(LTXV_SOURCE_DIR) + "/tests/golden/vae/" + name + ".json") >> info;
  return info;
}
json original() { return case_info("noisy")["original"]; }
json diffusers() { return case_info("noisy")["diffusers"]; }

TEST(VaeConfig, ReversesTheDecoderListAndMultipliesTheWidths) {
  // File order, from pixels: res 1, up, res 2, up, res 1, up, res 2 without noise; base width 16, three factors of two.
  const VaeConfig c = vae_config_from_original(original(), "f");
  ASSERT_EQ(c.decoder_blocks.size(), 7u);
  EXPECT_EQ(c.decoder_width, 128);
  EXPECT_EQ(c.decoder_blocks[0], (VaeBlock{.kind = "res_x", .in_channels = 128, .out_channels = 128, .layer_count = 2}));
  EXPECT_EQ(c.decoder_blocks[1],
            (VaeBlock{.kind = "compress_all", .in_channels = 128, .out_channels = 64, .multiplier = 2, .residual = true}));
  EXPECT_EQ(c.decoder_blocks[4].layer_count, 2);
  EXPECT_TRUE(c.decoder_blocks[6].inject_noise);
  EXPECT_EQ(c.compression.spatial, 32);
  EXPECT_EQ(c.compression.temporal, 8);
}

TEST(VaeConfig, FollowsWidthsOfNoRelease) {
  const VaeConfig c = vae_config_from_diffusers(case_info("uneven")["diffusers"], "f").config;
  // mid 48; (48) up, res; 48 -> 32, up, res; 32 -> 16, up, res
  std::vector<std::string> kinds;
  for (const auto& b : c.decoder_blocks) kinds.push_back(text(b.kind, " ", b.in_channels, " ", b.out_channels));
  EXPECT_EQ(kinds, (std::vector<std::string>{"res_x 48 48", "compress_all 48 48", "res_x 48 48", "res_x_y 48 32",
                                             "compress_all 32 32", "res_x 32 32", "res_x_y 32 16", "compress_all 16 16",
                                             "res_x 16 16"}));
  kinds.clear();
  for (const auto& b : c.encoder_blocks) kinds.push_back(text(b.kind, " ", b.out_channels));
  EXPECT_EQ(kinds, (std::vector<std::string>{"res_x 16", "compress_space_res 16", "res_x 16", "compress_time_res 32", "res_x 32",
                                             "compress_all_res 32", "res_x 32", "compress_all_res 64", "res_x 64"}));
}

TEST(VaeConfig, RenamesByPosition) {
  const KeyMap names = vae_config_from_diffusers(case_info("strided")["diffusers"], "f").names;
  // The table of the reference's own converter for this generation, some rows of it.
  EXPECT_EQ(names.apply("decoder.up_blocks.3.conv_in.conv_shortcut.conv.weight"), "decoder.up_blocks.7.conv_shortcut.weight");
  EXPECT_EQ(names.apply("decoder.up_blocks.3.conv_in.norm3.weight"), "decoder.up_blocks.7.norm3.norm.weight");
  EXPECT_EQ(names.apply("encoder.down_blocks.1.downsamplers.0.conv.bias"), "encoder.down_blocks.4.conv.bias");
  EXPECT_EQ(names.apply("encoder.mid_block.resnets.0.conv1.conv.weight"), "encoder.down_blocks.9.res_blocks.0.conv1.conv.weight");
  EXPECT_EQ(names.apply("latents_std"), "per_channel_statistics.std-of-means");
}

TEST(VaeConfig, AbsentKeysMeanTheClassDefaults) {
  // The first release's folder has none of the decoder's keys.
  const VaeConfig c = vae_config_from_diffusers(json::object(), "f").config;
  EXPECT_EQ(c.decoder_width, 512);
  EXPECT_EQ(c.decoder_blocks.size(), 10u);
  EXPECT_EQ(c.latent_channels, 128);
  EXPECT_FALSE(c.decoder_blocks[2].residual);
}

TEST(VaeConfig, PrivateKeysPassAndOthersDoNot) {
  json d = diffusers();
  d["_diffusers_version"] = "0.1";
  vae_config_from_diffusers(d, "f");
  d["attention_heads"] = 8;
  test::expect_error(ErrorCode::unsupported, "dir/config.json: unknown key \"attention_heads\"",
                     [&] { vae_config_from_diffusers(d, "dir/config.json"); });
}

struct Change {
  const char *key, *value, *words;
  ErrorCode code = ErrorCode::bad_weights;
};

TEST(VaeConfig, RefusesBadOriginalValuesByName) {
  for (const Change& c : std::initializer_list<Change>{
           {"latent_channels", "0", "latent_channels"},
           {"latent_channels", "-1", "latent_channels"},
           {"latent_channels", "18446744073709551615", "latent_channels"},
           {"latent_channels", "16.5", "latent_channels"},
           {"latent_channels", "\"16\"", "latent_channels"},
           {"patch_size", "1000000000", "patch_size"},
           {"encoder_base_channels", "1000000000", "encoder_base_channels"},
           {"scaling_factor", "0", "scaling_factor"},
           {"decoder_blocks", "[]", "decoder_blocks"},
           {"decoder_blocks", "{}", "decoder_blocks"},
           {"decoder_blocks", "[[\"res_x\"]]", "decoder_blocks\"[0]"},
           {"decoder_blocks", "[[\"res_x\",{}]]", "num_layers"},
           {"decoder_blocks", "[[\"res_x\",{\"num_layers\":1000000000}]]", "num_layers"},
           {"decoder_blocks", "[[\"res_x\",0]]", "decoder_blocks\"[0]"},
           {"decoder_blocks", "[[\"res_x\",{\"num_layers\":1,\"inject_noise\":1}]]", "inject_noise"},
           {"decoder_blocks", "[[\"compress_all\",{\"multiplier\":0}]]", "multiplier"},
           {"decoder_blocks", "[[\"res_x\",1]]", "the decoder expands"},
           {"decoder_blocks", "[[\"res_x\",{\"num_layers\":1,\"depth\":2}]]", "depth", ErrorCode::unsupported},
           {"decoder_blocks", "[[\"attn_res_x\",1]]", "attn_res_x", ErrorCode::unsupported},
           {"decoder_blocks", "[[\"compress_space\",{\"multiplier\":2}]]", "compress_space", ErrorCode::unsupported},
           {"encoder_blocks", "[[\"downsample\",1]]", "downsample", ErrorCode::unsupported},
           {"norm_layer", "\"group_norm\"", "norm_layer", ErrorCode::unsupported},
           {"latent_log_var", "\"per_channel\"", "latent_log_var", ErrorCode::unsupported},
           {"use_quant_conv", "true", "use_quant_conv", ErrorCode::unsupported},
           {"dims", "[2,1]", "dims", ErrorCode::unsupported},
           {"in_channels", "4", "in_channels", ErrorCode::unsupported},
           {"spatial_padding_mode", "\"circular\"", "spatial_padding_mode", ErrorCode::unsupported},
           {"use_attention", "true", "use_attention", ErrorCode::unsupported}}) {
    json vae = original();
    vae[c.key] = json::parse(c.value);
    SCOPED_TRACE(text(c.key, " = ", c.value));
    test::expect_error(c.code, c.words, [&] { vae_config_from_original(vae, "model.safetensors"); });
    test::expect_error(c.code, "model.safetensors", [&] { vae_config_from_original(vae, "model.safetensors"); });
  }
  json vae = original();
  vae.erase("norm_layer");  // absent means group_norm there
  test::expect_error(ErrorCode::unsupported, "norm_layer", [&] { vae_config_from_original(vae, "f"); });
  test::expect_error(ErrorCode::bad_weights, "an object is needed", [&] { vae_config_from_original(json::array(), "f"); });
}

TEST(VaeConfig, RefusesBadDiffusersValuesByName) {
  for (const Change& c : std::initializer_list<Change>{
           {"block_out_channels", "[]", "block_out_channels"},
           {"block_out_channels", "[16,0,64,64]", "block_out_channels\"[1]"},
           {"block_out_channels", "[16,32,64,1000000000]", "block_out_channels\"[3]"},
           {"layers_per_block", "[2,1]", "layers_per_block"},
           {"layers_per_block", "[2,1,1,1,0]", "layers_per_block\"[4]"},
           {"spatio_temporal_scaling", "[1,1,1,0]", "spatio_temporal_scaling\"[0]"},
           {"upsample_factor", "[3,3,3]", "upsample_factor"},
           {"upsample_factor", "[-2,2,2]", "upsample_factor"},
           {"decoder_inject_noise", "[true]", "decoder_inject_noise"},
           {"spatial_compression_ratio", "16", "spatial_compression_ratio"},
           {"temporal_compression_ratio", "4", "temporal_compression_ratio"},
           {"scaling_factor", "-1", "scaling_factor"},
           {"patch_size", "null_list", "patch_size"},
           {"patch_size_t", "2", "patch_size_t", ErrorCode::unsupported},
           {"resnet_norm_eps", "1e-5", "resnet_norm_eps", ErrorCode::unsupported},
           {"down_block_types", "[\"A\",\"B\",\"C\",\"D\"]", "down_block_types", ErrorCode::unsupported},
           {"decoder_block_out_channels", "[16,64,128]", "decoder_block_out_channels", ErrorCode::unsupported}}) {
    json d = diffusers();
    d[c.key] = std::string(c.value) == "null_list" ? json::array({nullptr}) : json::parse(c.value);
    SCOPED_TRACE(text(c.key, " = ", c.value));
    test::expect_error(c.code, c.words, [&] { vae_config_from_diffusers(d, "config.json"); });
  }
}

}  // namespace
}  // namespace ltxv
