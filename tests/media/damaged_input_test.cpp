// Files that are cut, damaged, hostile or simply something else: one clear line, nothing printed, no crash.
#include <sys/stat.h>

#include "media/made_files.h"
#include "media/media_support.h"

namespace ltxv::media {
namespace {

TEST(DamagedInput, MissingEmptyAndSpecialFiles) {
  const TemporaryFolder folder;
  write_text(folder / "empty.mp4", "");
  ASSERT_EQ(::mkfifo((folder / "pipe.png").c_str(), 0600), 0);
  const auto message = [&](const std::string& name) { return message_of<IoError>([&] { read_clip(folder / name); }); };
  EXPECT_TRUE(contains(message("missing.png"), "missing.png: no such file or directory"));
  EXPECT_TRUE(contains(message("empty.mp4"), "empty.mp4: the file is empty"));
  EXPECT_TRUE(contains(message("."), "is a folder"));
  EXPECT_TRUE(contains(message("pipe.png"), "is not a regular file"));
  EXPECT_THROW(read_metadata(folder / "missing.png"), IoError);
}

TEST(DamagedInput, ACutFileIsAnErrorWhereverItIsCut) {
  const TemporaryFolder folder;
  std::vector<Bytes> frames;
  for (int i = 0; i < 6; ++i) frames.push_back(noise_frame(48, 32, i));
  std::vector<std::string> names = {"a.mp4", "a.mkv", "a.webm", "a.gif", "a.png"};
  for (const std::string& name : names) write_clip(folder / name, 48, 32, frames);
  write_bytes(folder / "a.jpg", jpeg_file(64, 64, {0, 80, 160, 240}, 1));
  names.push_back("a.jpg");
  for (const std::string& name : names) {
    const Bytes whole = read_bytes(folder / name);
    ASSERT_NO_THROW(read_clip(folder / name)) << name;
    std::vector<size_t> cuts = {whole.size() / 10, whole.size() * 3 / 10, whole.size() * 6 / 10, whole.size() * 9 / 10,
                                whole.size() - 20};
    if (name != "a.gif") cuts.push_back(whole.size() - 1);  // a GIF may lack its last byte, and many do
    for (const size_t cut : cuts) {
      const std::string path = folder / ("cut" + name);
      write_bytes(path, Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut)));
      const std::string message = message_of<IoError>([&] { read_clip(path); });
      EXPECT_TRUE(contains(message, path + ": cut short"))
          << name << " at " << cut << " of " << whole.size() << ": " << message;
    }
  }
}

TEST(DamagedInput, ADamagedImageIsAnError) {
  const TemporaryFolder folder;
  write_clip(folder / "a.png", 48, 32, {noise_frame(48, 32, 1)});
  Bytes bytes = read_bytes(folder / "a.png");
  bytes[bytes.size() / 2] ^= 1;
  write_bytes(folder / "a.png", bytes);
  EXPECT_TRUE(contains(message_of<IoError>([&] { read_clip(folder / "a.png"); }), "a.png: damaged"));
}

TEST(DamagedInput, FlippedBitsNeverDoMoreThanFail) {
  const TemporaryFolder folder;
  std::vector<Bytes> frames;
  for (int i = 0; i < 4; ++i) frames.push_back(gradient_frame(32, 32, i));
  for (const char* name : {"a.mp4", "a.mkv", "a.webm", "a.gif", "a.png"}) {
    write_clip(folder / name, 32, 32, frames, {.metadata_json = "{}"});
    const Bytes whole = read_bytes(folder / name);
    uint32_t state = 1;
    for (int i = 0; i < 150; ++i) {
      Bytes bytes = whole;
      for (int flips = 0; flips < 3; ++flips) {
        state = state * 1664525U + 1013904223U;
        bytes[(state >> 8) % bytes.size()] ^= static_cast<uint8_t>(1U << (state >> 5 & 7));
      }
      write_bytes(folder / "flipped", bytes);
      for (const bool metadata : {false, true}) {
        try {
          if (metadata) {
            read_metadata(folder / "flipped");
          } else {
            const Clip clip = read_clip(folder / "flipped", {.max_frames = 64, .max_pixels_per_frame = 1 << 20});
            EXPECT_EQ(clip.rgb.size(), static_cast<size_t>(clip.frames * clip.height * clip.width * 3));
          }
        } catch (const Error& error) {
          EXPECT_TRUE(contains(error.what(), "flipped")) << error.what();
        }
      }
    }
  }
}

TEST(DamagedInput, PlaylistsAndTextAreRefusedWhateverTheirName) {
  const TemporaryFolder folder;
  write_clip(folder / "real.mp4", 16, 16, flat_frames(16, 16, 2));
  write_text(folder / "hls.mp4",
             "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nreal.mp4\n#EXT-X-ENDLIST\n");
  write_text(folder / "concat.mp4", "ffconcat version 1.0\nfile real.mp4\n");
  write_text(folder / "plain.mp4", "just some words\n");
  write_text(folder / "page.png", "<!DOCTYPE html><html><body>404</body></html>");
  for (const char* name : {"hls.mp4", "concat.mp4", "plain.mp4", "page.png"}) {
    const std::string message = message_of<Unsupported>([&] { read_clip(folder / name); });
    EXPECT_TRUE(contains(message, folder / name) && contains(message, "accepted are MP4/MOV")) << message;
  }
}

TEST(DamagedInput, SoundWithoutPictureIsRefused) {
  const TemporaryFolder folder;
  AVCodecParameters* parameters = avcodec_parameters_alloc();
  parameters->codec_type = AVMEDIA_TYPE_AUDIO;
  parameters->codec_id = AV_CODEC_ID_PCM_S16LE;
  parameters->sample_rate = 8000;
  parameters->bits_per_coded_sample = 16;
  parameters->block_align = 2;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(59, 24, 100)  // FFmpeg 5.1
  parameters->ch_layout.nb_channels = 1;
#else
  parameters->channels = 1;
#endif
  mux_one(folder / "sound.mkv", *parameters, Bytes(320, 0));
  mux_one(folder / "sound.wav", *parameters, Bytes(320, 0));
  avcodec_parameters_free(&parameters);
  EXPECT_TRUE(
      contains(message_of<Unsupported>([&] { read_clip(folder / "sound.mkv"); }), "holds no video and no picture"));
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { read_clip(folder / "sound.wav"); }), "not accepted"));
}

TEST(DamagedInput, APictureLargerThanTheLimitIsNotAllocated) {
  const TemporaryFolder folder;
  write_bytes(folder / "bomb.png", png_file({.width = 15000, .height = 15000, .samples = {}}));
  EXPECT_TRUE(contains(message_of<Unsupported>([&] { read_clip(folder / "bomb.png"); }),
                       "15000 x 15000 pixels, at most 33554432"));
  write_bytes(folder / "huge.png", png_file({.width = 0x7fffffff, .height = 0x7fffffff, .samples = {}}));
  EXPECT_THROW(read_clip(folder / "huge.png"), Unsupported);
  write_bytes(folder / "zero.png", png_file({.width = 0, .height = 5, .samples = {}}));
  EXPECT_THROW(read_clip(folder / "zero.png"), IoError);
  // In a JPEG the size stands in the SOF0 segment: length 2, precision 1, height 2, width 2.
  Bytes jpeg = jpeg_file(32, 16, {0, 80, 160, 240}, 1);
  for (size_t i = 0; i + 9 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) jpeg[i + 5] = jpeg[i + 7] = 0xea, jpeg[i + 6] = jpeg[i + 8] = 0x60;
  }
  write_bytes(folder / "bomb.jpg", jpeg);
  const std::string message = message_of<IoError>([&] { read_clip(folder / "bomb.jpg"); });
  EXPECT_TRUE(contains(message, "bomb.jpg")) << message;
}

}  // namespace
}  // namespace ltxv::media
