// Paths, early checks, and that a file is complete or absent whatever goes wrong.
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "media/media_support.h"
#include "media/output_file.h"

namespace ltxv::media {
namespace {

const std::vector<std::string> kAllKinds = {"out.mp4", "out.mkv", "out.webm", "out.gif", "out.png", "out_%04d.png"};

TEST(Container, FollowsTheExtension) {
  EXPECT_EQ(container_of("a.mp4"), Container::mp4);
  EXPECT_EQ(container_of("dir.gif/a.MKV"), Container::mkv);
  EXPECT_EQ(container_of("a.b.webm"), Container::webm);
  EXPECT_EQ(container_of("a.gif"), Container::gif);
  EXPECT_EQ(container_of("a.png"), Container::png_sheet);
  EXPECT_EQ(container_of("100%.png"), Container::png_sheet);
  EXPECT_EQ(container_of("frames_%04d/a.png"), Container::png_sheet);  // a folder's name is no pattern
  EXPECT_EQ(container_of("a_%04d.png"), Container::png_sequence);
  EXPECT_EQ(container_of("%d.PNG"), Container::png_sequence);
}

TEST(Container, RefusesOtherExtensionsAndListsThoseAllowed) {
  for (const char* path : {"a.avi", "a", "", ".mp4", "folder.mp4/a", "a.mp4 "}) {
    const std::string message = message_of<InvalidArgument>([&] { container_of(path); });
    EXPECT_TRUE(contains(message, ".mp4 .mkv .webm .gif .png")) << message;
  }
  EXPECT_TRUE(contains(message_of<InvalidArgument>([] { container_of("%d_%d.png"); }), "two number patterns"));
}

TEST(Container, NumbersAreSpelledByThePattern) {
  EXPECT_EQ(number_pattern("d/a_%04d.png")->path(7), "d/a_0007.png");
  EXPECT_EQ(number_pattern("a%d.png")->path(123), "a123.png");
  EXPECT_EQ(number_pattern("a%3d.png")->path(7), "a  7.png");
  EXPECT_EQ(number_pattern("a%02d.png")->path(123), "a123.png");
  EXPECT_FALSE(number_pattern("a%s.png").has_value());
  EXPECT_FALSE(number_pattern("a%.png").has_value());
}

TEST(CheckOutput, AcceptsWhatCanBeWritten) {
  const TemporaryFolder folder;
  for (const std::string& name : kAllKinds) EXPECT_NO_THROW(check_output(folder / name)) << name;
  EXPECT_NO_THROW(check_output_folder(folder / "frames.safetensors"));
  write_text(folder / "old.mp4", "old");
  EXPECT_NO_THROW(check_output(folder / "old.mp4"));
  EXPECT_EQ(folder.names(), Names{"old.mp4"});  // the check itself writes nothing
}

TEST(CheckOutput, NamesWhatStandsInTheWay) {
  const TemporaryFolder folder;
  write_text(folder / "file", "");
  std::filesystem::create_directory(folder / "taken.mp4");
  const auto message = [&](const std::string& path) { return message_of<IoError>([&] { check_output(path); }); };
  EXPECT_TRUE(contains(message(folder / "missing/a.mp4"), "missing: no such file or directory"));
  EXPECT_TRUE(contains(message(folder / "file/a.mp4"), "is not a folder"));
  EXPECT_TRUE(contains(message(folder / "taken.mp4"), "is a folder"));
  // Root may write anywhere but here.
  EXPECT_TRUE(contains(message("/proc/self/a.mp4"), "/proc/self"));
  ASSERT_EQ(::mkfifo((folder / "pipe.mp4").c_str(), 0600), 0);
  EXPECT_TRUE(contains(message(folder / "pipe.mp4"), "not a regular file"));
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { check_output(folder / ""); }), "unknown extension") ||
              contains(message_of<InvalidArgument>([&] { check_output(folder / ""); }), "no extension"));
  EXPECT_TRUE(contains(message_of<InvalidArgument>([&] { check_output_folder(folder / ""); }), "names a folder"));
  EXPECT_THROW(check_output_folder("/dev/null"), IoError);
  EXPECT_THROW(check_output_folder((folder / "missing") + "/a.safetensors"), IoError);
}

TEST(Output, NothingRemainsWithoutFinish) {
  for (const std::string& name : kAllKinds) {
    const TemporaryFolder folder;
    {
      const auto writer = VideoWriter::open(folder / name, 64, 64, {});
      EXPECT_FALSE(folder.names().empty()) << name << ": the hidden file should exist by now";
      for (int i = 0; i < 3; ++i) writer->write(noise_frame(64, 64, i).data(), 64 * 3);
    }
    EXPECT_EQ(folder.names(), Names{}) << name;
  }
}

TEST(Output, AnOlderFileStaysUntilFinish) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.gif";
  write_text(path, "old");
  VideoWriter::open(path, 16, 16, {});
  EXPECT_EQ(read_bytes(path), (Bytes{'o', 'l', 'd'}));
  write_clip(path, 16, 16, flat_frames(16, 16, 2));
  EXPECT_EQ(read_clip(path).frames, 2);
  EXPECT_EQ(folder.names(), Names{"out.gif"});
}

TEST(Output, CountsAndStridesAreChecked) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.mkv";
  const Bytes frame = flat_frame(16, 16, {1, 2, 3});
  {
    const auto writer = VideoWriter::open(path, 16, 16, {.frame_count = 2});
    EXPECT_THROW(writer->write(frame.data(), 47),
                 InvalidArgument);  // 16 pixels are 48 bytes; a wrong call costs nothing
    writer->write(frame.data(), 48);
    EXPECT_TRUE(
        contains(message_of<InvalidArgument>([&] { writer->finish(); }), "1 frames were written, 2 were announced"));
    EXPECT_THROW(writer->finish(), InvalidArgument);
    EXPECT_THROW(writer->write(frame.data(), 48), InvalidArgument);
  }
  EXPECT_THROW(VideoWriter::open(path, 16, 16, {})->finish(), InvalidArgument);  // no frame at all
  EXPECT_EQ(folder.names(), Names{});
}

TEST(Output, ArgumentsOutOfRangeAreRefusedBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.mp4";
  for (const double rate : {0.0, -1.0, 1e9, std::nan(""), 1e-9}) {
    EXPECT_THROW(VideoWriter::open(path, 16, 16, {.frames_per_second = rate}), InvalidArgument) << rate;
  }
  EXPECT_THROW(VideoWriter::open(path, 0, 16, {}), InvalidArgument);
  EXPECT_THROW(VideoWriter::open(path, 16, 16385, {}), InvalidArgument);
  EXPECT_THROW(VideoWriter::open(path, 16, int64_t{1} << 40, {}), InvalidArgument);
  EXPECT_THROW(VideoWriter::open(path, 16, 16, {.quality = 52}), InvalidArgument);
  EXPECT_THROW(VideoWriter::open(path, 16, 16, {.quality = kLossless}), InvalidArgument);
  EXPECT_THROW(VideoWriter::open(path, 16, 16, {.thread_count = 0}), InvalidArgument);
  EXPECT_THROW(VideoWriter::open(path, 16, 16, {.metadata_json = std::string("{}\0", 3)}), InvalidArgument);
  const std::string message =
      message_of<InvalidArgument>([&] { VideoWriter::open(path, 16, 16, {.encoder = "h264_nvenc"}); });
  EXPECT_TRUE(contains(message, "libx264, libopenh264, mpeg4")) << message;
  EXPECT_EQ(folder.names(), Names{});
}

TEST(Output, RemovesWhatAKilledWriterLeftAndNothingElse) {
  const TemporaryFolder folder;
  write_text(folder / ".out.gif.ltxv-1-0.part", "left by a killed process");
  write_text(folder / ".other.gif.ltxv-1-0.part", "another target");
  write_text(folder / ".out.gif.ltxv-2-0.part", "still being written");
  const int held = ::open((folder / ".out.gif.ltxv-2-0.part").c_str(), O_RDONLY);
  ASSERT_EQ(::flock(held, LOCK_EX), 0);
  write_clip(folder / "out.gif", 16, 16, flat_frames(16, 16, 1));
  EXPECT_EQ(folder.names(), (Names{".other.gif.ltxv-1-0.part", ".out.gif.ltxv-2-0.part", "out.gif"}));
  ::close(held);
  std::filesystem::create_directory(folder / ".s_%d.png.ltxv-1-0.part");
  write_text(folder / ".s_%d.png.ltxv-1-0.part/s_0.png", "");
  write_clip(folder / "s_%d.png", 16, 16, flat_frames(16, 16, 1));
  EXPECT_EQ(folder.names(), (Names{".other.gif.ltxv-1-0.part", ".out.gif.ltxv-2-0.part", "out.gif", "s_0.png"}));
}

TEST(Output, ALongNameStillHasRoomForTheHiddenOne) {
  const TemporaryFolder folder;
  const std::string name = std::string(251, 'x') + ".gif";  // 255 bytes, the most a name may have
  write_clip(folder / name, 16, 16, flat_frames(16, 16, 1));
  EXPECT_EQ(folder.names(), Names{name});
}

TEST(Output, NamesWithColonsPercentSignsAndSpacesAreJustNames) {
  const TemporaryFolder folder;
  // "http:" would be an address to FFmpeg; the MP4 muxer opens its own file a second time.
  for (const char* name : {"http:a b.mp4", "100%.mkv", "-o.webm", "a\nb.gif"}) {
    write_clip(folder / name, 16, 16, flat_frames(16, 16, 3));
    EXPECT_EQ(read_clip(folder / name).frames, 3) << name;
  }
}

TEST(Output, ASequenceThatCannotAppearWholeDoesNotAppear) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "f_2.png");
  const std::string message = message_of<IoError>([&] { write_clip(folder / "f_%d.png", 8, 8, flat_frames(8, 8, 4)); });
  EXPECT_TRUE(contains(message, "f_2.png")) << message;
  EXPECT_EQ(folder.names(), Names{"f_2.png"});
}

/// Writes noise until the system refuses; returns the message.
std::string message_of_full_disk(const std::string& path) {
  return message_of<IoError>([&] {
    std::vector<Bytes> frames;
    for (int i = 0; i < 6; ++i) frames.push_back(noise_frame(256, 256, i));
    write_clip(path, 256, 256, frames);
  });
}

TEST(Output, AFileSizeLimitIsOneClearErrorAndLeavesNothing) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  // 256 x 256 noise is 192 KiB a frame raw; 20 KB is less than one frame in any of the formats, and more than a header.
  const rlimit small = {20000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  for (const std::string& name : kAllKinds) {
    const TemporaryFolder folder;
    const std::string message = message_of_full_disk(folder / name);
    EXPECT_TRUE(contains(message, "file too large") && contains(message, folder.path())) << name << ": " << message;
    EXPECT_EQ(folder.names(), Names{}) << name;
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
}

TEST(Output, AFullDiskIsOneClearErrorAndLeavesNothing) {
  const TemporaryFolder mount_point;
  // In a name space of its own: a crash of this program leaves no mount behind.
  const bool separate = ::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
  if (!separate || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", mount_point.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "mounting a small file system is not permitted here";
  }
  for (const std::string& name : kAllKinds) {
    const std::string message = message_of_full_disk(mount_point / name);
    EXPECT_TRUE(contains(message, "no space left on device")) << name << ": " << message;
    EXPECT_EQ(mount_point.names(), Names{}) << name;
  }
  // The next, smaller file is fine.
  write_clip(mount_point / "small.mp4", 16, 16, flat_frames(16, 16, 3));
  EXPECT_EQ(read_clip(mount_point / "small.mp4").frames, 3);
  ::umount2(mount_point.path().c_str(), MNT_DETACH);
}

TEST(Output, DescribeNamesTheEncoderOfEachContainer) {
  const std::string lines = describe();
  for (const char* part : {"FFmpeg: avcodec ", "mp4: ", "mkv: ", "webm: ", "gif: gif", "png: png"}) {
    EXPECT_TRUE(contains(lines, part)) << part << " in\n" << lines;
  }
}

}  // namespace
}  // namespace ltxv::media
