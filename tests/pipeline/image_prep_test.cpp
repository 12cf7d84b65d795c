// Pictures as Pillow, diffusers and ltx_video bring them to size (make_conditioning_golden.py).
#include "pipeline/image_prep.h"

#include "media/resample.h"
#include "media/still_codec.h"
#include "pipeline/engine.h"
#include "pipeline/media_io.h"
#include "support/expect_error.h"
#include "support/golden.h"

namespace ltxv {
namespace {

const std::string kPicture = test::golden_path("image_prep.png");  // 83x61

ResolvedRequest request(ImagePrep prep, PixelShape asked, int64_t crf) {
  ResolvedRequest r;
  r.request.image_prep = prep;
  r.request.image_crf = crf;
  r.asked = asked;
  r.padded = r.computed = pad_to_grid(asked, {32, 8});
  return r;
}

at::Tensor condition(ImagePrep prep, PixelShape asked, int64_t crf = 0) {
  MediaFiles files;
  return read_condition(files, {.path = kPicture}, request(prep, asked, crf), {32, 8});
}

TEST(ImagePrep, ResamplingEqualsPillow) {
  const test::Golden golden("image_prep");
  const auto clip = media::read_clip(kPicture);
  for (const auto& [name, filter] : {std::pair{"bicubic", media::Filter::bicubic}, {"lanczos", media::Filter::lanczos}}) {
    for (const auto& [height, width] : {std::pair<int64_t, int64_t>{100, 50}, {20, 29}, {61, 40}, {17, 120}}) {
      auto out = media::resample(clip.rgb.data(), clip.height, clip.width, height, width, filter);
      const auto actual = at::from_blob(out.data(), {height, width, 3}, at::kByte);
      const auto expected = golden[std::string(name) + "/" + std::to_string(height) + "_" + std::to_string(width)];
      // Pillow 13, which made these, takes rows first where that is cheaper, here for 17x120; earlier versions never did. Rounding
      // to 8 bits in between makes a level or two of it.
      const int64_t most = height == 17 ? 2 : 0;
      EXPECT_LE((actual.to(at::kInt) - expected.to(at::kInt)).abs().max().item<int>(), most) << name << " " << height << " " << width;
    }
  }
}

TEST(ImagePrep, DiffusersStretchesWithLanczos) {
  EXPECT_MATCHES(condition(ImagePrep::diffusers, {9, 64, 96}), test::Golden("image_prep")["diffusers"], 1e-6);
}

TEST(ImagePrep, OfficialConditionsArePaddedThenResized) {
  EXPECT_MATCHES(condition(ImagePrep::official, {9, 50, 70}), test::Golden("image_prep")["official_plain/condition"], 1e-5);
}

TEST(ImagePrep, OfficialInputVideosAreResizedThenPadded) {
  MediaFiles files;
  EXPECT_MATCHES(read_input_frames(files, kPicture, request(ImagePrep::official, {1, 50, 70}, 0), {0, 1}),
                 test::Golden("image_prep")["official_plain/input"], 1e-5);
}

TEST(ImagePrep, TheCodecLeavesWhatLibx264Leaves) {
  // Another build of libx264 may decide a block otherwise; what must agree is how much is lost, and where.
  const test::Golden golden("image_prep");
  const auto expected = golden["official_codec/input"], clean = golden["official_plain/input"];
  at::Tensor actual;
  try {
    MediaFiles files;
    actual = read_input_frames(files, kPicture, request(ImagePrep::official, {1, 50, 70}, 29), {0, 1});
  } catch (const Unsupported& e) {
    GTEST_SKIP() << e.what();
  }
  const double loss = test::relative_rms(expected, clean);
  EXPECT_LT(test::relative_rms(actual, expected), loss / 4) << "loss of the reference: " << loss;
  EXPECT_NEAR(test::relative_rms(actual, clean), loss, loss / 4);
}

TEST(ImagePrep, PlainKeepsTheAspectAndTensorsAreLeftAlone) {
  // 83x61 to a square: the middle 61 columns; a picture that fits is not touched.
  const auto whole = read_frames(kPicture, nullptr, nullptr);
  const PixelShape square{1, 61, 61};
  EXPECT_TRUE(at::equal(read_frames(kPicture, &square, nullptr), whole.narrow(4, 11, 61)));
}

TEST(ImagePrep, OddPicturesCannotBeCompressed) {
  const std::vector<uint8_t> rgb(3 * 3 * 2);
  test::expect_error(ErrorCode::invalid_argument, "even", [&] { media::recompress(rgb.data(), 3, 2, 29); });
}

}  // namespace
}  // namespace ltxv
