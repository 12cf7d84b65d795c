// Conversions of the reader, on files made by hand (PNG) or by FFmpeg directly (tagged YUV, JPEG).
#include "media/made_files.h"
#include "media/media_support.h"

namespace ltxv::media {
namespace {

TEST(Reader, SixteenBitsBecomeEight) {
  const TemporaryFolder folder;
  Bytes samples, expected;  // 16 x 16 pixels
  for (int i = 0; i < 256; ++i) {
    for (const int value : {i, 255 - i, i ^ 0x55}) {
      samples.insert(samples.end(), {uint8_t(value), uint8_t(value)});  // 257 * value
      expected.push_back(uint8_t(value));
    }
  }
  write_bytes(folder / "a.png", png_file({.width = 16, .height = 16, .depth = 16, .colour = kRgb, .samples = samples}));
  EXPECT_EQ(read_clip(folder / "a.png").rgb, expected);
}

TEST(Reader, OtherDepthsOfGreyAreScaledToo) {
  const TemporaryFolder folder;
  write_bytes(
      folder / "a.png",
      png_file(
          {.width = 3, .height = 1, .depth = 16, .colour = kGrey, .samples = {0x00, 0x80, 0x80, 0x80, 0xff, 0xff}}));
  // round(v * 255 / 65535): 0.498 -> 0, 0x8080 = 128 * 257 -> 128
  EXPECT_EQ(read_clip(folder / "a.png").rgb, (Bytes{0, 0, 0, 128, 128, 128, 255, 255, 255}));
  write_bytes(folder / "b.png",
              png_file({.width = 8, .height = 1, .depth = 1, .colour = kGrey, .samples = {0b10110001}}));
  Bytes expected;
  for (const uint8_t bit : {1, 0, 1, 1, 0, 0, 0, 1}) expected.insert(expected.end(), 3, uint8_t(bit * 255));
  EXPECT_EQ(read_clip(folder / "b.png").rgb, expected);
}

TEST(Reader, GreyPaletteAndAlphaBecomeRgb) {
  const TemporaryFolder folder;
  write_bytes(folder / "grey.png", png_file({.width = 2, .height = 2, .colour = kGrey, .samples = {0, 16, 235, 255}}));
  EXPECT_EQ(read_clip(folder / "grey.png").rgb, (Bytes{0, 0, 0, 16, 16, 16, 235, 235, 235, 255, 255, 255}));
  write_bytes(
      folder / "palette.png",
      png_file(
          {.width = 2, .height = 1, .colour = kPalette, .samples = {1, 0}, .palette = {10, 20, 30, 200, 150, 100}}));
  EXPECT_EQ(read_clip(folder / "palette.png").rgb, (Bytes{200, 150, 100, 10, 20, 30}));
  // Dropped, not blended: a fully transparent pixel keeps its colour.
  write_bytes(
      folder / "alpha.png",
      png_file({.width = 3, .height = 1, .colour = kRgba, .samples = {1, 2, 3, 255, 40, 50, 60, 0, 70, 80, 90, 128}}));
  EXPECT_EQ(read_clip(folder / "alpha.png").rgb, (Bytes{1, 2, 3, 40, 50, 60, 70, 80, 90}));
  write_bytes(folder / "grey_alpha.png",
              png_file({.width = 2, .height = 1, .colour = kGreyAlpha, .samples = {7, 0, 99, 255}}));
  EXPECT_EQ(read_clip(folder / "grey_alpha.png").rgb, (Bytes{7, 7, 7, 99, 99, 99}));
}

TEST(Reader, FollowsMatrixAndRangeTags) {
  const TemporaryFolder folder;
  struct Case {
    AVColorSpace space;
    AVColorRange range;
    double kr, kb;
  };
  for (const Case& c : {Case{AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, 0.2126, 0.0722},
                        Case{AVCOL_SPC_BT709, AVCOL_RANGE_JPEG, 0.2126, 0.0722},
                        Case{AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG, 0.299, 0.114},
                        Case{AVCOL_SPC_SMPTE170M, AVCOL_RANGE_JPEG, 0.299, 0.114},
                        Case{AVCOL_SPC_BT2020_NCL, AVCOL_RANGE_MPEG, 0.2627, 0.0593},
                        Case{AVCOL_SPC_UNSPECIFIED, AVCOL_RANGE_UNSPECIFIED, 0.299, 0.114}}) {
    const std::array<uint8_t, 3> yuv = {120, 100, 160};
    write_flat_yuv(folder / "a.mkv", yuv, c.space, c.range);
    const bool full = c.range == AVCOL_RANGE_JPEG;
    const double y = full ? yuv[0] : (yuv[0] - 16) * 255.0 / 219;
    const double cb = (yuv[1] - 128) * (full ? 1 : 255.0 / 224), cr = (yuv[2] - 128) * (full ? 1 : 255.0 / 224);
    const double red = y + 2 * (1 - c.kr) * cr, blue = y + 2 * (1 - c.kb) * cb;
    const double green = (y - c.kr * red - c.kb * blue) / (1 - c.kr - c.kb);
    const Clip clip = read_clip(folder / "a.mkv");
    ASSERT_EQ(clip.frames, 1);
    const size_t middle = (16 * 32 + 16) * 3;
    EXPECT_NEAR(clip.rgb[middle], red, 1) << c.space << " " << c.range;
    EXPECT_NEAR(clip.rgb[middle + 1], green, 1) << c.space << " " << c.range;
    EXPECT_NEAR(clip.rgb[middle + 2], blue, 1) << c.space << " " << c.range;
  }
}

TEST(Reader, TurnsPhotographsUpright) {
  const TemporaryFolder folder;
  // Quadrants of a 32 x 16 picture, in reading order: black, dark, light, white grey. EXIF 2.3, table 5: orientation 6
  // means the 0th row is the visual right side, 8 the left, 3 the bottom.
  const std::array<uint8_t, 4> stored = {0, 85, 170, 255};
  const std::vector<std::pair<int, std::array<uint8_t, 4>>> upright = {
      {1, {0, 85, 170, 255}}, {2, {85, 0, 255, 170}}, {3, {255, 170, 85, 0}}, {4, {170, 255, 0, 85}},
      {5, {0, 170, 85, 255}}, {6, {170, 0, 255, 85}}, {7, {255, 85, 170, 0}}, {8, {85, 255, 0, 170}}};
  for (const auto& [orientation, quadrants] : upright) {
    write_bytes(folder / "a.jpg", jpeg_file(32, 16, stored, orientation));
    const Clip clip = read_clip(folder / "a.jpg");
    const bool turned = orientation >= 5;
    ASSERT_EQ(clip.width, turned ? 16 : 32) << orientation;
    ASSERT_EQ(clip.height, turned ? 32 : 16) << orientation;
    for (int i = 0; i < 4; ++i) {
      const int64_t x = clip.width / 4 + i % 2 * clip.width / 2, y = clip.height / 4 + i / 2 * clip.height / 2;
      EXPECT_NEAR(clip.rgb[(y * clip.width + x) * 3], quadrants[i], 3)
          << "orientation " << orientation << " quadrant " << i;
    }
    EXPECT_EQ(clip.frames_per_second, 0);
  }
}

TEST(Reader, ContentDecidesNotTheName) {
  const TemporaryFolder folder;
  write_clip(folder / "a.mp4", 16, 16, flat_frames(16, 16, 4));
  std::filesystem::rename(folder / "a.mp4", folder / "a.png");
  EXPECT_EQ(read_clip(folder / "a.png").frames, 4);
}

TEST(Reader, StopsWhereToldAndRefusesBeyondLimits) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.mp4";
  write_clip(path, 32, 32, flat_frames(32, 32, 17));
  EXPECT_EQ(read_clip(path, {.stop_after_frames = 5}).frames, 5);
  EXPECT_EQ(read_clip(path, {.stop_after_frames = 50}).frames, 17);
  EXPECT_EQ(read_clip(path, {.max_frames = 17}).frames, 17);
  const auto refused = [&](const ReadLimits& limits) {
    return message_of<Unsupported>([&] { read_clip(path, limits); });
  };
  EXPECT_TRUE(contains(refused({.max_frames = 16}), "more than 16 frames"));
  EXPECT_TRUE(contains(refused({.max_bytes = 32 * 32 * 3 * 16}), "bytes of frames"));
  write_clip(folder / "f_%d.png", 16, 16, flat_frames(16, 16, 5));
  EXPECT_EQ(read_clip(folder / "f_%d.png", {.stop_after_frames = 2}).frames, 2);
  EXPECT_THROW(read_clip(folder / "f_%d.png", {.max_frames = 4}), Unsupported);
}

TEST(Reader, SequencesStartAtTheLowestNumberAndHaveNoGaps) {
  const TemporaryFolder folder;
  write_clip(folder / "f_%02d.png", 16, 16, flat_frames(16, 16, 5));
  std::filesystem::remove(folder / "f_00.png");
  write_text(folder / "f_1.png", "another spelling is not of this pattern");
  write_text(folder / "f_xx.png", "");
  const Clip clip = read_clip(folder / "f_%02d.png");
  EXPECT_EQ(clip.frames, 4);
  EXPECT_EQ((Colour{clip.rgb[0], clip.rgb[1], clip.rgb[2]}), test_colour(1));
  std::filesystem::remove(folder / "f_03.png");
  EXPECT_TRUE(contains(message_of<IoError>([&] { read_clip(folder / "f_%02d.png"); }), "f_03.png: missing"));
  write_clip(folder / "x.png", 20, 16, flat_frames(20, 16, 1));
  std::filesystem::rename(folder / "x.png", folder / "f_03.png");
  EXPECT_TRUE(
      contains(message_of<Unsupported>([&] { read_clip(folder / "f_%02d.png"); }), "f_03.png: frame 2 is 20 x 16"));
  EXPECT_TRUE(contains(message_of<IoError>([&] { read_clip(folder / "g_%02d.png"); }), "no file of this pattern"));
}

TEST(Reader, VariableRateIsTheMean) {
  const TemporaryFolder folder;
  // A GIF of 17 frames at 30 a second alternates 3 and 4 hundredths: 16 intervals last round(16 * 100 / 30) = 53.
  write_clip(folder / "a.gif", 16, 16, flat_frames(16, 16, 17), {.frames_per_second = 30});
  EXPECT_NEAR(read_clip(folder / "a.gif").frames_per_second, 30, 1);
}

TEST(Reader, APartOfAClipOrSequence) {
  const TemporaryFolder folder;
  for (const std::string name : {"a.mkv", "p%02d.png", "a.gif"}) {
    const std::string path = folder / name;
    write_clip(path, 16, 16, flat_frames(16, 16, 7));
    const Clip all = read_clip(path);
    ASSERT_EQ(all.frames, 7) << name;
    const size_t frame = all.rgb.size() / 7;
    const auto part = [&](size_t first, size_t count) { return Bytes(all.rgb.begin() + first * frame, all.rgb.begin() + (first + count) * frame); };
    const Clip middle = read_clip(path, {.first_frame = 2, .stop_after_frames = 3});
    EXPECT_EQ(middle.frames, 3) << name;
    EXPECT_EQ(middle.first_frame, 2);
    EXPECT_EQ(middle.rgb, part(2, 3));
    EXPECT_EQ(read_clip(path, {.first_frame = 5}).rgb, part(5, 2));
    EXPECT_EQ(read_clip(path, {.first_frame = 5, .stop_after_frames = 9}).rgb, part(5, 2));
    const Clip behind = read_clip(path, {.first_frame = 100, .stop_after_frames = 3});  // the last one, which tells the count
    EXPECT_EQ(behind.first_frame, 6);
    EXPECT_EQ(behind.frames, 1);
    EXPECT_EQ(behind.rgb, part(6, 1));
  }
}

TEST(Reader, ManyPartsOfAnOpenFile) {
  const TemporaryFolder folder;
  for (const std::string name : {"a.mkv", "p%02d.png", "a.gif"}) {
    const std::string path = folder / name;
    write_clip(path, 16, 16, flat_frames(16, 16, 7));
    ClipReader reader(path);
    const auto expect_part = [&](int64_t first, int64_t count) {
      const Clip part = reader.read(first, count), alone = read_clip(path, {.first_frame = first, .stop_after_frames = count});
      EXPECT_EQ(part.rgb, alone.rgb) << name << " " << first << " " << count;
      EXPECT_EQ(part.first_frame, alone.first_frame) << name << " " << first << " " << count;
      EXPECT_EQ(part.frames, alone.frames) << name << " " << first << " " << count;
      EXPECT_EQ(part.width, 16);
      EXPECT_EQ(part.frames_per_second, alone.frames_per_second);
    };
    expect_part(0, 3);   // forwards, overlapping, inside of what is held, with a gap, to the end, behind it
    expect_part(1, 3);
    expect_part(1, 1);
    expect_part(5, 1);
    expect_part(5, 9);
    expect_part(40, 2);
    expect_part(6, 0);
    EXPECT_EQ(reader.count_frames(), 7) << name;
    expect_part(2, 2);   // back again
    EXPECT_EQ(reader.count_frames(), 7) << name;
    expect_part(3, 0);
    expect_part(0, 0);
    EXPECT_EQ(ClipReader(path).count_frames(), 7) << name;
  }
}

TEST(Reader, AnOpenFileIsDecodedOnceWhenReadForwards) {
  // What is behind the part read last must come from the file that was opened, not from one opened again.
  const TemporaryFolder folder;
  const std::string path = folder / "a.mkv";
  write_clip(path, 16, 16, flat_frames(16, 16, 7));
  const Bytes all = read_clip(path).rgb;
  ClipReader reader(path);
  reader.read(0, 2);
  std::filesystem::remove(path);
  const size_t frame = all.size() / 7;
  EXPECT_EQ(reader.read(1, 4).rgb, Bytes(all.begin() + frame, all.begin() + 5 * frame));
  EXPECT_EQ(reader.count_frames(), 7);
  EXPECT_THROW(reader.read(0, 1), IoError);
}

}  // namespace
}  // namespace ltxv::media
