// ltxv.hpp: handles, exceptions, callbacks.
#include <ltxv/ltxv.hpp>
#include <ranges>

#include "api/fixture.h"

namespace ltxv::test {
namespace {

static_assert(std::ranges::input_range<ltxv::video>);
static_assert(std::is_nothrow_move_constructible_v<ltxv::video> && !std::is_copy_constructible_v<ltxv::video>);

const ltxv::engine& engine() {
  static const ltxv::engine one({.model = kTinyModel, .dtype = "fp32", .thread_count = 1});
  return one;
}

const ltxv::generate_options kSmall{
    .prompt = "a red circle", .width_px = 64, .height_px = 32, .frame_count = 9, .step_count = 2, .seed = 0};

TEST(Wrapper, GeneratesAndIterates) {
  ltxv::video video = engine().generate(kSmall);
  int count = 0;
  for (const ltxv::frame& frame : video) {
    EXPECT_EQ(frame.index, count++);
    EXPECT_EQ(frame.rgb.size(), 64u * 32 * 3);
  }
  EXPECT_EQ(count, 9);
  EXPECT_EQ(nlohmann::json::parse(video.metadata())["seed"], 0);
  const auto frames = video.tensors()["frames"];
  EXPECT_EQ(frames.shape.size(), 5u);
}

TEST(Wrapper, SettingsComeBackFromEveryKindOfFile) {
  const TempFolder folder;
  const ltxv::video video = engine().generate(kSmall);
  for (const char* name : {"a.mp4", "a.webm", "a.gif", "a.png", "a.safetensors"}) {
    video.write(folder / name);
    EXPECT_EQ(ltxv::read_metadata(folder / name), video.metadata()) << name;
  }
  EXPECT_EQ(nlohmann::json::parse(video.metadata())["ltxv_version"], ltxv::version());
  video.tensors().save(folder / "bare.safetensors");
  for (const std::string& path : {folder / "bare.safetensors", folder / "none.mp4"}) {
    try {
      ltxv::read_metadata(path);
      FAIL() << path;
    } catch (const ltxv::error& e) {
      EXPECT_EQ(e.code(), LTXV_IO) << path;
      EXPECT_NE(std::string(e.what()).find(path), std::string::npos) << e.what();
    }
  }
}

TEST(Wrapper, FailuresCarryTheCode) {
  try {
    engine().generate({.prompt = "x", .width_px = -1});
    FAIL() << "a negative width was accepted";
  } catch (const ltxv::error& e) {
    EXPECT_EQ(e.code(), LTXV_INVALID_ARGUMENT);
    EXPECT_NE(std::string(e.what()).find("-1"), std::string::npos);
  }
}

TEST(Wrapper, ExceptionsOfCallbacksComeOut) {
  struct Stop {};
  EXPECT_THROW(engine().generate(kSmall, {.on_progress = [](const ltxv::progress&) -> bool { throw Stop(); }}), Stop);
  EXPECT_NO_THROW(engine().generate(kSmall));
}

TEST(Wrapper, CancelTokensAreShared) {
  const ltxv::cancel_token token;
  const ltxv::hooks hooks{.cancel = token};
  token.trip();
  try {
    engine().generate(kSmall, hooks);
    FAIL() << "not cancelled";
  } catch (const ltxv::error& e) {
    EXPECT_EQ(e.code(), LTXV_CANCELLED);
  }
}

TEST(Wrapper, TensorsRoundTrip) {
  ltxv::tensors tensors;
  const int64_t shape[] = {2, 2};
  const float values[] = {1, 2, 3, 4};
  tensors.add("m", shape, values);
  EXPECT_EQ(tensors.size(), 1);
  EXPECT_EQ(tensors["m"].as<float>()[3], 4.f);
  EXPECT_THROW(tensors["m"].as<double>(), ltxv::error);
  EXPECT_THROW(tensors["other"], ltxv::error);
}

}  // namespace
}  // namespace ltxv::test
