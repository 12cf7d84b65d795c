// What the written files contain, read back by the library and by FFmpeg directly.
#include <gtest/gtest.h>

#include "media/ffmpeg_handles.h"
#include "media/media_support.h"

namespace ltxv::media {
namespace {

constexpr char kJson[] =
    R"({"prompt":"ein Fuchs im Schnee, 狐狸 \"zitiert\" 🦊","seed":18446744073709551615,"steps":8})";

InputPtr demux(const std::string& path) {
  AVFormatContext* context = nullptr;
  EXPECT_EQ(avformat_open_input(&context, ("file:" + path).c_str(), nullptr, nullptr), 0);
  EXPECT_GE(avformat_find_stream_info(context, nullptr), 0);
  return InputPtr(context);
}

/// The luma or chroma sample in the middle of the first frame, as stored.
std::array<int, 3> first_yuv(const std::string& path) {
  const InputPtr input = demux(path);
  const AVCodecParameters* parameters = input->streams[0]->codecpar;
  const CodecPtr decoder(avcodec_alloc_context3(avcodec_find_decoder(parameters->codec_id)));
  EXPECT_GE(avcodec_parameters_to_context(decoder.get(), parameters), 0);
  EXPECT_GE(avcodec_open2(decoder.get(), nullptr, nullptr), 0);
  const PacketPtr packet(av_packet_alloc());
  const FramePtr frame(av_frame_alloc());
  bool more = true;
  while (avcodec_receive_frame(decoder.get(), frame.get()) != 0 && more) {
    more = av_read_frame(input.get(), packet.get()) == 0;
    avcodec_send_packet(decoder.get(), more ? packet.get() : nullptr);
    av_packet_unref(packet.get());
  }
  EXPECT_EQ(frame->format, AV_PIX_FMT_YUV420P);
  const auto sample = [&](int plane, int x, int y) { return int(frame->data[plane][y * frame->linesize[plane] + x]); };
  return {sample(0, frame->width / 2, frame->height / 2), sample(1, frame->width / 4, frame->height / 4),
          sample(2, frame->width / 4, frame->height / 4)};
}

// How far flat colours may move at the default quality, worst case of one channel:
//   rounding Y, Cb, Cr to limited range, +-0.5 each       0.5 * 255/219 + 0.5 * 255/224 * 1.8556 (B)         =  1.6
//   one quantiser step of 7 (QP 21: CRF 18 and the offset of B frames) on the mean of a 4x4 block, of which at most 5/6
//   is lost: 7 * 5/6 / 4 = 1.5 on Y and on chroma            1.5 * 255/219 + 1.5 * 255/224 * 1.8556 (B)         =  4.9
//   rounding back to RGB                                                                                     =  0.5
// 7 levels are 20 log10(255 / 7) = 31.2 dB. A wrong matrix moves pure green by over 30 levels, a wrong range black
// by 16.
constexpr double kFlatPsnrDb = 31.2;

class LossyRoundTrip : public testing::TestWithParam<std::pair<const char*, const char*>> {
  void SetUp() override {
    if (avcodec_find_encoder_by_name(GetParam().second) == nullptr)
      GTEST_SKIP() << "this FFmpeg has no " << GetParam().second;
  }
};

TEST_P(LossyRoundTrip, FramesOfKnownColoursComeBack) {
  const TemporaryFolder folder;
  const std::string path = folder / GetParam().first;
  const std::vector<Bytes> frames = flat_frames(128, 128, 17);
  EXPECT_EQ(write_clip(path, 128, 128, frames, {.encoder = GetParam().second}), GetParam().second);
  const Clip clip = read_clip(path);
  EXPECT_EQ(clip.frames, 17);
  EXPECT_EQ(clip.height, 128);
  EXPECT_EQ(clip.width, 128);
  EXPECT_DOUBLE_EQ(clip.frames_per_second, 25);
  for (int i = 0; i < 17; ++i) {
    const auto begin = clip.rgb.begin() + i * ptrdiff_t{128 * 128 * 3};
    EXPECT_GE(psnr(Bytes(begin, begin + 128 * 128 * 3), frames[i]), kFlatPsnrDb) << "frame " << i;
  }
}

TEST_P(LossyRoundTrip, ColourIsBt709LimitedAndSaysSo) {
  const TemporaryFolder folder;
  // Y = 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B), Cb = 128 + 224 (B - Y') / 1.8556, Cr = 128 + 224 (R - Y') / 1.5748.
  const std::array<std::pair<Colour, std::array<double, 3>>, 4> expected = {{
      {{255, 0, 0}, {62.6, 102.3, 240}},
      {{0, 255, 0}, {172.6, 41.7, 26.3}},
      {{0, 0, 255}, {31.8, 240, 117.7}},
      {{255, 255, 255}, {235, 128, 128}},
  }};
  for (const auto& [colour, yuv] : expected) {
    const std::string path = folder / GetParam().first;
    write_clip(path, 64, 64, {flat_frame(64, 64, colour)}, {.encoder = GetParam().second});
    const std::array<int, 3> found = first_yuv(path);
    for (int c = 0; c < 3; ++c)
      EXPECT_NEAR(found[c], yuv[c], 2) << "component " << c << " of " << int(colour[0]) << " " << int(colour[1]);
    const InputPtr input = demux(path);
    const AVCodecParameters& parameters = *input->streams[0]->codecpar;
    EXPECT_EQ(parameters.color_range, AVCOL_RANGE_MPEG);
    EXPECT_EQ(parameters.color_space, AVCOL_SPC_BT709);
    if (GetParam().second == std::string("libvpx-vp9") || GetParam().second == std::string("mpeg4")) continue;
    EXPECT_EQ(parameters.color_primaries, AVCOL_PRI_BT709);
    EXPECT_EQ(parameters.color_trc, AVCOL_TRC_BT709);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LossyRoundTrip,
                         testing::Values(std::pair{"a.mp4", "libx264"}, std::pair{"a.mkv", "libx264"},
                                         std::pair{"b.mp4", "mpeg4"}, std::pair{"a.webm", "libvpx-vp9"}));

TEST(Writer, LosslessMkvIsExact) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.mkv";
  const std::vector<Bytes> frames = {noise_frame(65, 33, 1), noise_frame(65, 33, 2), gradient_frame(65, 33, 3)};
  EXPECT_EQ(write_clip(path, 65, 33, frames, {.quality = kLossless}), "ffv1");
  EXPECT_EQ(read_clip(path).rgb, joined(frames));
}

TEST(Writer, BetterQualityIsCloserAndBigger) {
  const TemporaryFolder folder;
  const std::vector<Bytes> frames(3, noise_frame(64, 64, 5));
  for (const char* name : {"a.mp4", "a.webm"}) {
    write_clip(folder / name, 64, 64, frames, {.quality = 5});
    const auto good = std::filesystem::file_size(folder / name);
    write_clip(folder / name, 64, 64, frames, {.quality = 45});
    EXPECT_GT(good, 2 * std::filesystem::file_size(folder / name)) << name;
  }
}

TEST(Writer, OddSizesGainARepeatedColumnAndRowWhereTheFormatNeedsIt) {
  const TemporaryFolder folder;
  const Bytes frame = flat_frame(33, 17, {200, 100, 50});
  for (const char* name : {"a.mp4", "a.mkv", "a.webm"}) {
    write_clip(folder / name, 33, 17, {frame, frame});
    const Clip clip = read_clip(folder / name);
    EXPECT_EQ(clip.width, 34) << name;
    EXPECT_EQ(clip.height, 18) << name;
    EXPECT_GE(psnr(clip.rgb, joined(std::vector<Bytes>(2, flat_frame(34, 18, {200, 100, 50})))), kFlatPsnrDb) << name;
  }
  for (const char* name : {"a.gif", "a_%d.png"}) {
    write_clip(folder / name, 33, 17, {frame, frame});
    EXPECT_EQ(read_clip(folder / name).width, 33) << name;
    EXPECT_EQ(read_clip(folder / name).height, 17) << name;
  }
  write_clip(folder / "one.mp4", 1, 1, {flat_frame(1, 1, {9, 9, 9})});
  EXPECT_EQ(read_clip(folder / "one.mp4").width, 2);
}

TEST(Writer, ReadsRowsAtTheirStride) {
  const TemporaryFolder folder;
  const Bytes frame = noise_frame(20, 6, 1);
  Bytes wide;
  for (int y = 0; y < 6; ++y) {
    wide.insert(wide.end(), frame.begin() + y * 60, frame.begin() + (y + 1) * 60);
    wide.insert(wide.end(), 13, 0xee);
  }
  wide.resize(wide.size() - 13);  // nothing after the last row may be touched
  for (const char* name : {"a.png", "a_%d.png", "a.mkv"}) {
    const auto writer = VideoWriter::open(folder / name, 20, 6, {.quality = kLossless});
    writer->write(wide.data(), 73);
    writer->finish();
    EXPECT_EQ(read_clip(folder / name).rgb, frame) << name;
  }
}

TEST(Writer, FrameRatesAreExactFractions) {
  struct Case {
    double frames_per_second;
    AVRational stored;
  };
  const std::vector<Case> cases = {{25, {25, 1}},
                                   {24, {24, 1}},
                                   {8, {8, 1}},
                                   {7.3, {73, 10}},
                                   {12.5, {25, 2}},
                                   {23.976, {24000, 1001}},
                                   {29.97, {30000, 1001}},
                                   {59.94, {60000, 1001}},
                                   {30, {30, 1}},
                                   {60, {60, 1}},
                                   {24000.0 / 1001, {24000, 1001}},
                                   {0.5, {1, 2}}};
  const TemporaryFolder folder;
  for (const char* name : {"a.mp4", "a.mkv", "a.webm"}) {
    for (const Case& c : cases) {
      write_clip(folder / name, 32, 32, flat_frames(32, 32, 9), {.frames_per_second = c.frames_per_second});
      const AVRational found = demux(folder / name)->streams[0]->avg_frame_rate;
      if (container_of(name) == Container::mp4) {
        EXPECT_EQ(av_cmp_q(found, c.stored), 0) << c.frames_per_second << ": " << found.num << "/" << found.den;
      } else {  // Matroska keeps whole nanoseconds a frame, and FFmpeg's reader makes a fraction below 30000 of them
        EXPECT_NEAR(1 / av_q2d(found), 1 / av_q2d(c.stored), 1e-9) << name << " " << c.frames_per_second;
      }
      EXPECT_DOUBLE_EQ(read_clip(folder / name).frames_per_second, av_q2d(c.stored));
    }
  }
}

TEST(Writer, TheIndexOfAnMp4ComesFirst) {
  const TemporaryFolder folder;
  write_clip(folder / "a.mp4", 32, 32, flat_frames(32, 32, 9));
  const Bytes bytes = read_bytes(folder / "a.mp4");
  const std::string content(bytes.begin(), bytes.end());
  EXPECT_LT(content.find("moov"), content.find("mdat"));
}

TEST(Writer, MetadataComesBack) {
  const TemporaryFolder folder;
  std::string longer = R"({"prompt":")";
  for (int i = 0; i < 20000; ++i) longer += "狐 ";  // 80 kB: past 16-bit lengths and GIF's blocks of 255
  longer += R"("})";
  for (const char* name : {"a.mp4", "a.mkv", "a.webm", "a.gif", "a.png", "a_%02d.png"}) {
    for (const std::string& json : {std::string(kJson), longer, std::string("{}")}) {
      write_clip(folder / name, 16, 16, flat_frames(16, 16, 2), {.metadata_json = json, .title = "Füchse"});
      EXPECT_EQ(read_metadata(folder / name), json) << name;
      EXPECT_EQ(read_clip(folder / name).frames, name == std::string("a.png") ? 1 : 2) << name;
    }
    write_clip(folder / name, 16, 16, flat_frames(16, 16, 2));
    EXPECT_EQ(read_metadata(folder / name), "") << name;
  }
}

TEST(Writer, MetadataIsWhereOtherProgramsLook) {
  const TemporaryFolder folder;
  for (const char* name : {"a.mp4", "a.mkv", "a.webm"}) {
    write_clip(folder / name, 16, 16, flat_frames(16, 16, 2), {.metadata_json = kJson, .title = "Füchse"});
    const InputPtr input = demux(folder / name);
    const AVDictionaryEntry* comment = av_dict_get(input->metadata, "comment", nullptr, 0);
    const AVDictionaryEntry* title = av_dict_get(input->metadata, "title", nullptr, 0);
    ASSERT_TRUE(comment != nullptr && title != nullptr) << name;
    EXPECT_STREQ(comment->value, kJson) << name;
    EXPECT_STREQ(title->value, "Füchse") << name;
    EXPECT_EQ(av_dict_get(input->metadata, "creation_time", nullptr, 0), nullptr) << name;
  }
  // PNG: chunk type, keyword, five zero bytes (PNG specification, 11.3.3.4), text. GIF: 21 FE, length, text (GIF89a,
  // 24).
  write_clip(folder / "a.png", 16, 16, flat_frames(16, 16, 1), {.metadata_json = R"({"a":1})"});
  write_clip(folder / "a.gif", 16, 16, flat_frames(16, 16, 1), {.metadata_json = R"({"a":1})"});
  const Bytes png = read_bytes(folder / "a.png"), gif = read_bytes(folder / "a.gif");
  EXPECT_TRUE(contains(std::string(png.begin(), png.end()), std::string("iTXtComment\0\0\0\0\0{\"a\":1}", 23)));
  EXPECT_TRUE(contains(std::string(gif.begin(), gif.end()), std::string("\x21\xfe\x07{\"a\":1}\0\x3b", 12)));
}

TEST(Writer, ACommentOfAnotherProgramIsNotOurs) {
  const TemporaryFolder folder;
  write_clip(folder / "a.mp4", 16, 16, flat_frames(16, 16, 2), {.metadata_json = "made with a camera"});
  EXPECT_EQ(read_metadata(folder / "a.mp4"), "");
}

TEST(Writer, APngSequenceIsExactAndCountsFromZero) {
  const TemporaryFolder folder;
  const std::vector<Bytes> frames = {noise_frame(40, 24, 1), noise_frame(40, 24, 2), noise_frame(40, 24, 3)};
  write_clip(folder / "f_%04d.png", 40, 24, frames);
  EXPECT_EQ(folder.names(), (Names{"f_0000.png", "f_0001.png", "f_0002.png"}));
  const Clip clip = read_clip(folder / "f_%04d.png");
  EXPECT_EQ(clip.frames, 3);
  EXPECT_EQ(clip.frames_per_second, 0);
  EXPECT_EQ(clip.rgb, joined(frames));
  EXPECT_EQ(read_clip(folder / "f_0001.png").rgb, frames[1]);
}

/// The frame at slot `slot` of a sheet of `columns`, cut out.
Bytes sheet_cell(const Clip& sheet, int64_t slot, int64_t columns, int64_t width, int64_t height) {
  Bytes out;
  const int64_t left = slot % columns * (width + 4), top = slot / columns * (height + 4);
  for (int64_t y = 0; y < height; ++y) {
    const auto row = sheet.rgb.begin() + ((top + y) * sheet.width + left) * 3;
    out.insert(out.end(), row, row + width * 3);
  }
  return out;
}

TEST(Writer, ASheetShowsAllFramesUpToSixteen) {
  const TemporaryFolder folder;
  struct Case {
    int64_t frames, columns, rows;
  };
  for (const Case& c : {Case{1, 1, 1}, Case{2, 2, 1}, Case{3, 2, 2}, Case{9, 3, 3}, Case{10, 4, 3}, Case{16, 4, 4}}) {
    std::vector<Bytes> frames;
    for (int64_t i = 0; i < c.frames; ++i) frames.push_back(noise_frame(12, 10, static_cast<uint32_t>(i)));
    write_clip(folder / "a.png", 12, 10, frames, {.frame_count = c.frames});
    const Clip sheet = read_clip(folder / "a.png");
    EXPECT_EQ(sheet.width, c.columns * 12 + (c.columns - 1) * 4);
    EXPECT_EQ(sheet.height, c.rows * 10 + (c.rows - 1) * 4);
    for (int64_t i = 0; i < c.frames; ++i)
      EXPECT_EQ(sheet_cell(sheet, i, c.columns, 12, 10), frames[i]) << c.frames << " " << i;
  }
  EXPECT_EQ(folder.names(), Names{"a.png"});
}

TEST(Writer, ALongerClipIsSampledEvenlyWithFirstAndLast) {
  const TemporaryFolder folder;
  // round(i * 30 / 15) = 2 i for 31 frames; round(i * 24 / 15) = round(1.6 i) for 25.
  const std::vector<std::pair<int64_t, std::vector<int64_t>>> cases = {
      {31, {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}},
      {25, {0, 2, 3, 5, 6, 8, 10, 11, 13, 14, 16, 18, 19, 21, 22, 24}}};
  for (const auto& [count, chosen] : cases) {
    std::vector<Bytes> frames;
    for (int64_t i = 0; i < count; ++i) frames.push_back(noise_frame(8, 8, static_cast<uint32_t>(i)));
    for (const int64_t announced : {count, int64_t{0}}) {
      write_clip(folder / "a.png", 8, 8, frames, {.frame_count = announced});
      const Clip sheet = read_clip(folder / "a.png");
      EXPECT_EQ(sheet.width, 4 * 8 + 3 * 4);
      for (int64_t i = 0; i < 16; ++i)
        EXPECT_EQ(sheet_cell(sheet, i, 4, 8, 8), frames[chosen[i]]) << count << " slot " << i;
    }
  }
}

TEST(Writer, AGifOfFewColoursIsExactAndKeepsItsPace) {
  const TemporaryFolder folder;
  const std::vector<Bytes> frames = flat_frames(48, 32, 17);
  write_clip(folder / "a.gif", 48, 32, frames);
  const Clip clip = read_clip(folder / "a.gif");
  EXPECT_EQ(clip.frames, 17);
  EXPECT_EQ(clip.rgb, joined(frames));
  EXPECT_DOUBLE_EQ(clip.frames_per_second, 25);
}

TEST(Writer, AGifOfManyColoursBeatsAFixedCube) {
  const TemporaryFolder folder;
  std::vector<Bytes> frames;
  for (int i = 0; i < 17; ++i) frames.push_back(gradient_frame(96, 64, i));
  write_clip(folder / "a.gif", 96, 64, frames);
  const Clip clip = read_clip(folder / "a.gif");
  ASSERT_EQ(clip.frames, 17);
  // A 6 x 6 x 6 cube steps by 51: variance 51^2 / 12 a channel, 20 log10(255 / 14.72) = 24.8 dB.
  EXPECT_GT(psnr(clip.rgb, joined(frames)), 24.8);
}

TEST(Writer, AGifLeavesOutFramesThatViewersWouldSlowDown) {
  const TemporaryFolder folder;
  // 100 a second: every second one is left, 2/100 s apart.
  write_clip(folder / "a.gif", 16, 16, flat_frames(16, 16, 16), {.frames_per_second = 100});
  const Clip clip = read_clip(folder / "a.gif");
  EXPECT_EQ(clip.frames, 8);
  EXPECT_DOUBLE_EQ(clip.frames_per_second, 50);
}

}  // namespace
}  // namespace ltxv::media
