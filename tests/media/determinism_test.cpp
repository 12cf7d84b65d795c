// Same frames, same bytes: twice, in threads at once, and without the processor's vector instructions.
#include <thread>

#include "media/media_support.h"

extern "C" {
#include <libavutil/cpu.h>
#include <libavutil/log.h>
}

namespace ltxv::media {
namespace {

struct Kind {
  const char* name;
  WriteOptions options;
};

std::vector<Kind> kinds() {
  return {{"a.mp4", {.metadata_json = "{}"}}, {"b.mp4", {.encoder = "mpeg4"}},     {"a.mkv", {.metadata_json = "{}"}},
          {"b.mkv", {.quality = kLossless}},  {"a.webm", {.metadata_json = "{}"}}, {"a.gif", {.metadata_json = "{}"}},
          {"a.png", {.metadata_json = "{}"}},   {"c.mp4", {.thread_count = 4}},          {"c.mkv", {.quality = kLossless, .thread_count = 4}},
          {"c.webm", {.thread_count = 4}}};
}

std::vector<Bytes> moving_frames() {
  std::vector<Bytes> frames;
  for (int i = 0; i < 9; ++i) frames.push_back(i % 3 == 2 ? noise_frame(70, 46, i) : gradient_frame(70, 46, i));
  return frames;
}

TEST(Determinism, TwoRunsGiveTheSameBytes) {
  const TemporaryFolder folder, other;
  for (const Kind& kind : kinds()) {
    write_clip(folder / kind.name, 70, 46, moving_frames(), kind.options);
    write_clip(other / kind.name, 70, 46, moving_frames(), kind.options);
    EXPECT_EQ(read_bytes(folder / kind.name), read_bytes(other / kind.name)) << kind.name;
  }
}

TEST(Determinism, VectorInstructionsDoNotShow) {
  const TemporaryFolder folder;
  for (const Kind& kind : kinds()) {
    write_clip(folder / kind.name, 70, 46, moving_frames(), kind.options);
    const Bytes with = read_bytes(folder / kind.name);
    const Bytes read_with = read_clip(folder / kind.name).rgb;
    av_force_cpu_flags(0);
    write_clip(folder / kind.name, 70, 46, moving_frames(), kind.options);
    const Bytes read_without = read_clip(folder / kind.name).rgb;
    av_force_cpu_flags(-1);
    EXPECT_EQ(read_bytes(folder / kind.name), with) << kind.name;
    EXPECT_EQ(read_without, read_with) << kind.name;
  }
}

TEST(Determinism, WritersInThreadsDoNotDisturbEachOther) {
  const TemporaryFolder folder;
  const std::vector<Kind> all = kinds();
  std::vector<Bytes> alone, together(all.size());
  for (const Kind& kind : all) {
    write_clip(folder / kind.name, 70, 46, moving_frames(), kind.options);
    alone.push_back(read_bytes(folder / kind.name));
    std::filesystem::remove(folder / kind.name);
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < all.size(); ++i) {
    threads.emplace_back([&, i] { write_clip(folder / all[i].name, 70, 46, moving_frames(), all[i].options); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(read_bytes(folder / all[i].name), alone[i]) << all[i].name;
}

TEST(Determinism, NothingIsPrintedAndTheHostsOwnLogStillWorks) {
  const TemporaryFolder folder;
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  for (const Kind& kind : kinds()) write_clip(folder / kind.name, 70, 46, moving_frames(), kind.options);
  write_clip(folder / "threads.mp4", 70, 46, moving_frames(), {.thread_count = 4});
  for (const char* name : {"a.mp4", "a.gif", "a.png"}) {
    Bytes bytes = read_bytes(folder / name);
    for (size_t i = bytes.size() / 2; i < bytes.size() / 2 + 40; ++i) bytes[i] ^= 0x55;
    write_bytes(folder / "bad", bytes);
    try {
      read_clip(folder / "bad");
    } catch (const Error&) {
    }
  }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  av_log(nullptr, AV_LOG_ERROR, "the host's own message\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "the host's own message\n");
}

}  // namespace
}  // namespace ltxv::media
