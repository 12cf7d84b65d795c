// Arithmetic between pixels and latents, from the definition: Tp = (Tl - 1) * 8 + 1, Hp = 32 Hl.
#include "base/video_shape.h"

#include "support/expect_error.h"

namespace ltxv {
namespace {

using test::expect_error;
constexpr Compression kReal{32, 8};

TEST(VideoShape, KnownSizes) {
  EXPECT_EQ(latent_shape({121, 480, 704}, kReal), (LatentShape{16, 15, 22}));
  EXPECT_EQ(latent_shape({1, 32, 32}, kReal), (LatentShape{1, 1, 1}));
  EXPECT_EQ(pixel_shape({16, 15, 22}, kReal), (PixelShape{121, 480, 704}));
  EXPECT_EQ((LatentShape{16, 15, 22}).token_count(), 5280);
}

TEST(VideoShape, ThereAndBackForEveryCompression) {
  for (const Compression c : {kReal, Compression{16, 4}, Compression{1, 1}})
    for (int64_t n = 1; n < 6; ++n) {
      const LatentShape latent{n, n + 1, 2 * n};
      EXPECT_EQ(latent_shape(pixel_shape(latent, c), c), latent);
    }
}

TEST(VideoShape, OffTheGridIsAnErrorThatNamesTheNearest) {
  expect_error(ErrorCode::invalid_argument, "frame count 120 is not 8k+1 (nearest: 113)", [] {
    latent_shape({120, 480, 704}, kReal);
  });
  expect_error(ErrorCode::invalid_argument, "frame count 0", [] { latent_shape({0, 32, 32}, kReal); });
  expect_error(ErrorCode::invalid_argument, "frame count -7", [] { latent_shape({-7, 32, 32}, kReal); });
  expect_error(ErrorCode::invalid_argument, "height 481", [] { latent_shape({9, 481, 704}, kReal); });
  expect_error(ErrorCode::invalid_argument, "height 0", [] { latent_shape({9, 0, 704}, kReal); });
  expect_error(ErrorCode::invalid_argument, "width 700 is not a multiple of 32", [] {
    latent_shape({9, 480, 700}, kReal);
  });
}

TEST(VideoShape, PaddingIsTheSmallestShapeOnTheGridThatHolds) {
  for (int64_t frames = 1; frames < 30; ++frames)
    for (int64_t side : {1, 31, 32, 33, 64, 65}) {
      const PixelShape asked{frames, side, 2 * side}, padded = pad_to_grid(asked, kReal);
      EXPECT_NO_THROW(latent_shape(padded, kReal));
      EXPECT_GE(padded.frames, asked.frames);
      EXPECT_LT(padded.frames - 8, asked.frames);
      EXPECT_GE(padded.height, asked.height);
      EXPECT_LT(padded.height - 32, asked.height);
      EXPECT_LT(padded.width - 32, asked.width);
      // The reference's own formula, inference.py: ((num_frames - 2) // 8 + 1) * 8 + 1, // rounding down.
      const int64_t floor_part = frames == 1 ? -1 : (frames - 2) / 8;
      EXPECT_EQ(padded.frames, (floor_part + 1) * 8 + 1) << frames;
    }
}

}  // namespace
}  // namespace ltxv
