#include "weights/key_map.h"

#include <gtest/gtest.h>

namespace ltxv::test {
namespace {

TEST(KeyMap, WithoutRulesNamesStay) { EXPECT_EQ(KeyMap().apply("a.b.0.weight"), "a.b.0.weight"); }

TEST(KeyMap, APrefixEndsAtAPathBoundary) {
  const KeyMap map = KeyMap().prefix("proj_in", "patchify_proj").prefix("time_embed", "adaln_single");
  EXPECT_EQ(map.apply("proj_in.weight"), "patchify_proj.weight");
  EXPECT_EQ(map.apply("proj_in"), "patchify_proj");
  EXPECT_EQ(map.apply("proj_inner.weight"), "proj_inner.weight");
  EXPECT_EQ(map.apply("a.proj_in.weight"), "a.proj_in.weight");
  EXPECT_EQ(map.apply("time_embed.emb.weight"), "adaln_single.emb.weight");
}

TEST(KeyMap, TheFirstPrefixThatFitsWins) {
  const KeyMap map = KeyMap().prefix("up.0.conv_in", "up.2").prefix("up.0", "up.3");
  EXPECT_EQ(map.apply("up.0.conv_in.w"), "up.2.w");
  EXPECT_EQ(map.apply("up.0.resnets.w"), "up.3.resnets.w");
}

TEST(KeyMap, StripsAndAddsPrefixesWithOrWithoutTheirDot) {
  for (const char* from : {"model.diffusion_model", "model.diffusion_model."}) {
    EXPECT_EQ(KeyMap().prefix(from, "").apply("model.diffusion_model.a.w"), "a.w");
  }
  for (const char* to : {"vae", "vae."}) EXPECT_EQ(KeyMap().prefix("", to).apply("a.w"), "vae.a.w");
}

TEST(KeyMap, AnElementIsReplacedWhereverItStands) {
  const KeyMap map =
      KeyMap().anywhere("resnets", "res_blocks").anywhere("norm3", "norm3.norm").anywhere("conv.conv", "conv");
  EXPECT_EQ(map.apply("up.0.resnets.1.norm3.weight"), "up.0.res_blocks.1.norm3.norm.weight");
  EXPECT_EQ(map.apply("resnets.norm3"), "res_blocks.norm3.norm");
  EXPECT_EQ(map.apply("a.conv.conv.bias"), "a.conv.bias");
  EXPECT_EQ(map.apply("a.conv.convolution.bias"), "a.conv.convolution.bias");
  EXPECT_EQ(map.apply("a.my_resnets.b"), "a.my_resnets.b");
}

TEST(KeyMap, TwoRulesMaySwapNames) {
  const KeyMap map = KeyMap().anywhere("q", "k").anywhere("k", "q");
  EXPECT_EQ(map.apply("x.q.k.w"), "x.k.q.w");
}

TEST(KeyMap, DroppedNamesBecomeEmpty) {
  const KeyMap map = KeyMap().drop("vae.").prefix("vae", "other");
  EXPECT_EQ(map.apply("vae.decoder.w"), "");
  EXPECT_EQ(map.apply("vae"), "other");
}

}  // namespace
}  // namespace ltxv::test
