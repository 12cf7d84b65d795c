// What is done to latents between and after passes, against ltx_video.
#include "diffusion/latent_filters.h"

#include "support/expect_error.h"
#include "support/golden.h"
#include "support/made_weights.h"

namespace ltxv {
namespace {

const auto kLatents = [] { return test::made("latents", {1, 8, 3, 3, 5}, 2.0f); };

TEST(LatentFilters, MatchedStatisticsEqualLtxVideo) {
  const test::Golden golden("upscale");
  const auto reference = test::made("reference", {1, 8, 2, 3, 4}, 0.5f, 1.0f);
  EXPECT_MATCHES(match_statistics(kLatents(), reference, 1.0), golden["match/1.0"], 1e-6);
  EXPECT_MATCHES(match_statistics(kLatents(), reference, 0.25), golden["match/0.25"], 1e-6);
  EXPECT_TRUE(at::equal(match_statistics(kLatents(), reference, 0.0), kLatents()));
}

TEST(LatentFilters, OnePositionHasNoStatistics) {
  test::expect_error(ErrorCode::invalid_argument, "one position has no deviation",
                     [&] { match_statistics(kLatents(), at::zeros({1, 8, 1, 1, 1}), 1.0); });
}

TEST(LatentFilters, CompressedTonesEqualLtxVideo) {
  const test::Golden golden("upscale");
  EXPECT_MATCHES(compress_tones(kLatents(), 0.6), golden["tones/0.6"], 1e-6);
  EXPECT_MATCHES(compress_tones(kLatents(), 1.0), golden["tones/1.0"], 1e-6);
  EXPECT_TRUE(at::equal(compress_tones(kLatents(), 0.0), golden["tones/0.0"]));
}

}  // namespace
}  // namespace ltxv
