// Whole runs through the C boundary: pictures, progress, cancelling, threads, fork.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "api/fixture.h"

namespace ltxv::test {
namespace {

TEST(Video, PicturesAreTheFloatFramesRounded) {
  const VideoHandle video = generate(small_request());
  ltxv_video_properties facts = ltxv_video_properties_init();
  ASSERT_EQ(ltxv_video_info(video.get(), &facts, nullptr), LTXV_OK);
  EXPECT_EQ(facts.frame_count, 9);
  EXPECT_EQ(facts.width_px, 64);
  EXPECT_EQ(facts.height_px, 32);

  ltxv_tensors* tensors_raw = nullptr;
  ASSERT_EQ(ltxv_video_tensors(video.get(), &tensors_raw, nullptr), LTXV_OK);
  const TensorsHandle tensors(tensors_raw);
  const auto frames = view_of(tensors.get(), "frames");
  ASSERT_EQ(frames.byte_count, 3u * 9 * 32 * 64 * 4);
  const auto* values = static_cast<const float*>(frames.data);
  EXPECT_EQ(view_of(tensors.get(), "latents").shape[1], 8);

  ltxv_frame frame = ltxv_frame_init();
  int32_t count = 0;
  while (ltxv_video_next_frame(video.get(), &frame, nullptr) == LTXV_OK) {
    ASSERT_EQ(frame.index, count);
    EXPECT_DOUBLE_EQ(frame.time_seconds, count / facts.frames_per_second);
    for (int y = 0; y < 32; ++y) {
      for (int x = 0; x < 64; ++x) {
        for (int c = 0; c < 3; ++c) {
          const float v = values[((c * 9 + count) * 32 + y) * 64 + x];  // [1,3,T,H,W]
          const double expected = std::nearbyint((std::fmin(1.f, std::fmax(-1.f, v)) + 1.f) * 127.5f);
          ASSERT_EQ(frame.rgb[y * frame.stride_bytes + 3 * x + c], expected)
              << "frame " << count << " " << y << " " << x << " " << c;
        }
      }
    }
    ++count;
  }
  EXPECT_EQ(count, 9);
  EXPECT_EQ(ltxv_video_next_frame(video.get(), &frame, nullptr), LTXV_END);
  ASSERT_EQ(ltxv_video_rewind(video.get(), nullptr), LTXV_OK);
  ASSERT_EQ(ltxv_video_next_frame(video.get(), &frame, nullptr), LTXV_OK);
  EXPECT_EQ(frame.index, 0);
}

TEST(Video, GoesStraightIntoAFile) {
  const TempFolder folder;
  auto o = small_request();
  o.prompt = "a red circle | a blue square";
  o.frame_count = 33;
  o.window_frames = 16;
  o.window_overlap = 8;
  ltxv_text* text = nullptr;
  ltxv_error error = ltxv_error_init();
  const std::string path = folder / "long.mkv";
  ASSERT_EQ(ltxv_generate_file(tiny_engine(), &o, path.c_str(), &text, &error), LTXV_OK) << error.message;
  const TextHandle handle(text);
  EXPECT_EQ(nlohmann::json::parse(ltxv_text_data(text))["window_frames"], 16);
  ltxv_video* raw = nullptr;
  ASSERT_EQ(ltxv_read_frames(path.c_str(), 0, 0, 0, &raw, nullptr), LTXV_OK);
  const VideoHandle video(raw);
  ltxv_video_properties facts = ltxv_video_properties_init();
  ASSERT_EQ(ltxv_video_info(video.get(), &facts, nullptr), LTXV_OK);
  EXPECT_EQ(facts.frame_count, 33);
  EXPECT_EQ(ltxv_generate_file(tiny_engine(), &o, (folder / "long.xyz").c_str(), nullptr, nullptr), LTXV_INVALID_ARGUMENT);
}

TEST(Video, MetadataHoldsTheRequest) {
  const VideoHandle video = generate(small_request());
  const auto j = nlohmann::json::parse(ltxv_video_metadata(video.get()));
  EXPECT_EQ(j["prompt"], "a red circle");
  EXPECT_EQ(j["seed"], 3);
}

TEST(Video, FilesAreReadBackAsTheyWereWritten) {
  const TempFolder folder;
  const VideoHandle video = generate(small_request());
  for (const char* name : {"v.mp4", "v.safetensors"}) {
    const std::string path = folder / name;
    ltxv_error error = ltxv_error_init();
    ASSERT_EQ(ltxv_video_write(video.get(), path.c_str(), nullptr, &error), LTXV_OK) << error.message;
    ltxv_video* again_raw = nullptr;
    ASSERT_EQ(ltxv_read_frames(path.c_str(), 0, 0, 5, &again_raw, &error), LTXV_OK) << error.message;
    const VideoHandle again(again_raw);
    ltxv_video_properties facts = ltxv_video_properties_init();
    ASSERT_EQ(ltxv_video_info(again.get(), &facts, nullptr), LTXV_OK);
    EXPECT_EQ(facts.frame_count, 5);
    EXPECT_EQ(facts.width_px, 64);
  }
}

TEST(Stages, FollowEachOther) {
  ltxv_error error = ltxv_error_init();
  ltxv_embed_options ask = ltxv_embed_options_init();
  ask.prompt = "a red circle";
  ltxv_tensors* raw = nullptr;
  ASSERT_EQ(ltxv_embed(tiny_engine(), &ask, &raw, &error), LTXV_OK) << error.message;
  const TensorsHandle embeds(raw);
  EXPECT_EQ(view_of(embeds.get(), "prompt_embeds").shape[2], 24);
  EXPECT_EQ(view_of(embeds.get(), "prompt_attention_mask").dtype, LTXV_I64);

  ASSERT_EQ(ltxv_encode(tiny_engine(), make_frames({1, 3, 9, 32, 64}).get(), nullptr, &raw, &error), LTXV_OK)
      << error.message;
  const TensorsHandle latents(raw);
  const auto view = view_of(latents.get(), "latents");
  const int64_t shape[5] = {1, 8, 2, 1, 2};  // (9 - 1) / 8 + 1 frames, 32 pixels a row and column
  ASSERT_EQ(view.rank, 5);
  EXPECT_EQ(std::memcmp(view.shape, shape, sizeof shape), 0);

  ltxv_video* video_raw = nullptr;
  ASSERT_EQ(ltxv_decode(tiny_engine(), latents.get(), nullptr, &video_raw, &error), LTXV_OK) << error.message;
  const VideoHandle video(video_raw);
  ltxv_video_properties facts = ltxv_video_properties_init();
  ASSERT_EQ(ltxv_video_info(video.get(), &facts, nullptr), LTXV_OK);
  EXPECT_EQ(facts.frame_count, 9);
  EXPECT_EQ(facts.height_px, 32);

  EXPECT_EQ(ltxv_encode(tiny_engine(), make_frames({1, 3, 8, 32, 64}).get(), nullptr, &raw, &error),
            LTXV_INVALID_ARGUMENT);
  EXPECT_EQ(raw, nullptr);
}

struct Seen {
  std::vector<int32_t> stages;
  int32_t stop_at_step = -1;
};
int32_t record(const ltxv_progress* p, void* user_data) {
  auto& seen = *static_cast<Seen*>(user_data);
  if (seen.stages.empty() || seen.stages.back() != p->stage) seen.stages.push_back(p->stage);
  return p->stage == LTXV_STAGE_DENOISE && p->step == seen.stop_at_step;
}

TEST(Progress, NamesTheStagesInOrder) {
  Seen seen;
  auto o = small_request();
  o.on_progress = record;
  o.user_data = &seen;
  generate(o);
  std::vector<int32_t> rest;
  for (const int32_t stage : seen.stages) {
    if (stage != LTXV_STAGE_LOAD) rest.push_back(stage);
  }
  EXPECT_EQ(rest, (std::vector<int32_t>{LTXV_STAGE_TEXT, LTXV_STAGE_DENOISE, LTXV_STAGE_DECODE}));
}

TEST(Progress, NonzeroStopsTheRunAndTheEngineStaysUsable) {
  Seen seen;
  seen.stop_at_step = 1;
  auto o = small_request();
  o.on_progress = record;
  o.user_data = &seen;
  ltxv_video* video = nullptr;
  EXPECT_EQ(ltxv_generate(tiny_engine(), &o, &video, nullptr), LTXV_CANCELLED);
  EXPECT_EQ(video, nullptr);
  EXPECT_EQ(seen.stages.back(), LTXV_STAGE_DENOISE);
  EXPECT_NE(generate(small_request()), nullptr);
}

TEST(Cancel, WorksBeforeTheRunAndFromAnotherThread) {
  ltxv_cancel* raw = nullptr;
  ASSERT_EQ(ltxv_cancel_new(&raw, nullptr), LTXV_OK);
  CancelHandle cancel(raw);
  auto o = small_request();
  o.cancel = cancel.get();
  o.step_count = 1000;  // minutes, were it not cancelled
  std::thread other([&] { ltxv_cancel_trip(cancel.get()); });
  ltxv_video* video = nullptr;
  EXPECT_EQ(ltxv_generate(tiny_engine(), &o, &video, nullptr), LTXV_CANCELLED);
  other.join();
  EXPECT_EQ(ltxv_generate(tiny_engine(), &o, &video, nullptr), LTXV_CANCELLED) << "never re-armed";
}

std::vector<float> frames_of(const ltxv_video* video) {
  ltxv_tensors* raw = nullptr;
  EXPECT_EQ(ltxv_video_tensors(video, &raw, nullptr), LTXV_OK);
  const TensorsHandle tensors(raw);
  const auto view = view_of(tensors.get(), "frames");
  const auto* values = static_cast<const float*>(view.data);
  return {values, values + view.byte_count / sizeof(float)};
}

TEST(Threads, OneEngineServesSeveral) {
  const auto expected = frames_of(generate(small_request()).get());
  std::vector<float> results[2];
  std::thread threads[2];
  for (int i = 0; i < 2; ++i)
    threads[i] = std::thread([&results, i] { results[i] = frames_of(generate(small_request()).get()); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(results[0], expected);
  EXPECT_EQ(results[1], expected);
}

TEST(Fork, AChildGetsAnErrorInsteadOfAHang) {
  ASSERT_NE(generate(small_request()), nullptr);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);  // a hang ends here, with a signal
    const auto o = small_request();
    ltxv_video* video = nullptr;
    ltxv_engine* engine = nullptr;
    ltxv_error error = ltxv_error_init();
    const bool refused = ltxv_generate(tiny_engine(), &o, &video, &error) == LTXV_UNSUPPORTED &&
                         std::strstr(error.message, "fork") != nullptr &&
                         ltxv_engine_open(nullptr, &engine, &error) == LTXV_UNSUPPORTED;
    _exit(refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

}  // namespace
}  // namespace ltxv::test
