// What a caller can get wrong, and what the errors say.
#include <set>

#include "api/fixture.h"

namespace ltxv::test {
namespace {

TEST(Version, MatchesTheProject) {
  EXPECT_STREQ(ltxv_version(), LTXV_PROJECT_VERSION);
  EXPECT_EQ(ltxv_abi_version(), LTXV_ABI_VERSION);
}

TEST(Describe, TellsABugReportEverything) {
  const auto j = nlohmann::json::parse(ltxv_describe());
  EXPECT_EQ(j["version"], LTXV_PROJECT_VERSION);
  EXPECT_TRUE(j["libtorch"].get<std::string>().starts_with("2."));
  EXPECT_EQ(j["devices"][0], "cpu");
  EXPECT_TRUE(j["kernels"].contains("attention"));
  EXPECT_EQ(ltxv_describe(), ltxv_describe()) << "the text lives as long as the process";
}

TEST(StatusText, IsDifferentForEveryStatus) {
  std::set<std::string> texts;
  for (ltxv_status s = LTXV_NUMERIC; s <= LTXV_END; ++s) texts.insert(ltxv_status_text(s));
  EXPECT_EQ(texts.size(), static_cast<size_t>(LTXV_END - LTXV_NUMERIC + 1));
  EXPECT_STREQ(ltxv_status_text(-1000), "unknown status");
}

/// Calls with a NULL where something is needed: the status, the named argument, and NULL in the output.
template <class Call>
void expect_null_refused(const char* argument, Call&& call) {
  ltxv_error error = ltxv_error_init();
  EXPECT_EQ(call(&error), LTXV_INVALID_ARGUMENT) << argument;
  EXPECT_EQ(std::string(error.message).rfind(argument, 0), 0u) << "expected " << argument << ", got: " << error.message;
  EXPECT_EQ(call(nullptr), LTXV_INVALID_ARGUMENT) << argument;
}

TEST(Null, IsRefusedByNameEverywhere) {
  auto* some_video = reinterpret_cast<ltxv_video*>(1);
  auto* some_tensors = reinterpret_cast<ltxv_tensors*>(1);
  auto* some_text = reinterpret_cast<ltxv_text*>(1);
  const auto request = small_request();
  ltxv_engine* engine = tiny_engine();
  ltxv_video* video = some_video;
  ltxv_tensors* tensors = some_tensors;
  ltxv_text* text = some_text;

  expect_null_refused("out", [](ltxv_error* e) { return ltxv_engine_open(nullptr, nullptr, e); });
  expect_null_refused("out", [](ltxv_error* e) { return ltxv_cancel_new(nullptr, e); });
  expect_null_refused("path", [&](ltxv_error* e) { return ltxv_inspect(nullptr, &text, e); });
  expect_null_refused("options", [&](ltxv_error* e) { return ltxv_files_check(nullptr, &text, e); });
  expect_null_refused("options", [&](ltxv_error* e) { return ltxv_files_convert(nullptr, &text, e); });
  expect_null_refused("path", [](ltxv_error* e) { return ltxv_output_check(nullptr, e); });
  expect_null_refused("engine", [&](ltxv_error* e) { return ltxv_generate(nullptr, &request, &video, e); });
  expect_null_refused("options", [&](ltxv_error* e) { return ltxv_generate(engine, nullptr, &video, e); });
  expect_null_refused("out", [&](ltxv_error* e) { return ltxv_generate(engine, &request, nullptr, e); });
  expect_null_refused("engine", [&](ltxv_error* e) { return ltxv_generate_file(nullptr, &request, "x.mp4", &text, e); });
  expect_null_refused("path", [&](ltxv_error* e) { return ltxv_generate_file(engine, &request, nullptr, &text, e); });
  expect_null_refused("engine", [&](ltxv_error* e) { return ltxv_generate_resolve(nullptr, &request, &text, e); });
  expect_null_refused("engine", [&](ltxv_error* e) { return ltxv_embed(nullptr, nullptr, &tensors, e); });
  expect_null_refused("options", [&](ltxv_error* e) { return ltxv_embed(engine, nullptr, &tensors, e); });
  expect_null_refused("frames", [&](ltxv_error* e) { return ltxv_encode(engine, nullptr, nullptr, &tensors, e); });
  expect_null_refused("latents", [&](ltxv_error* e) { return ltxv_upscale(engine, nullptr, nullptr, &tensors, e); });
  expect_null_refused("latents", [&](ltxv_error* e) { return ltxv_decode(engine, nullptr, nullptr, &video, e); });
  expect_null_refused("path", [&](ltxv_error* e) { return ltxv_read_frames(nullptr, 0, 0, 0, &video, e); });
  expect_null_refused("frames", [&](ltxv_error* e) { return ltxv_video_new(nullptr, 8, &video, e); });
  expect_null_refused("video", [](ltxv_error* e) { return ltxv_video_info(nullptr, nullptr, e); });
  expect_null_refused("video", [](ltxv_error* e) { return ltxv_video_next_frame(nullptr, nullptr, e); });
  expect_null_refused("video", [](ltxv_error* e) { return ltxv_video_rewind(nullptr, e); });
  expect_null_refused("video", [&](ltxv_error* e) { return ltxv_video_tensors(nullptr, &tensors, e); });
  expect_null_refused("video", [](ltxv_error* e) { return ltxv_video_write(nullptr, "x.mp4", nullptr, e); });
  expect_null_refused("tensors", [](ltxv_error* e) { return ltxv_tensors_save(nullptr, "x.safetensors", e); });
  expect_null_refused("tensors", [](ltxv_error* e) { return ltxv_tensors_get(nullptr, "x", nullptr, e); });
  expect_null_refused("engine", [](ltxv_error* e) { return ltxv_engine_info(nullptr, nullptr, e); });
  EXPECT_EQ(video, nullptr);
  EXPECT_EQ(tensors, nullptr);
  EXPECT_EQ(text, nullptr);

  ltxv_engine_free(nullptr);
  ltxv_video_free(nullptr);
  ltxv_tensors_free(nullptr);
  ltxv_text_free(nullptr);
  ltxv_cancel_free(nullptr);
  ltxv_cancel_trip(nullptr);
  EXPECT_EQ(ltxv_text_data(nullptr), nullptr);
  EXPECT_EQ(ltxv_video_metadata(nullptr), nullptr);
  EXPECT_EQ(ltxv_engine_describe(nullptr), nullptr);
  EXPECT_EQ(ltxv_tensors_count(nullptr), 0);
}

TEST(Words, OfATableAreCheckedAndEchoed) {
  ltxv_generate_options o = small_request();
  o.image_prep = "official";
  o.zero_fields = LTXV_ZERO_IMAGE_CRF | LTXV_ZERO_WINDOW_MATCH;
  o.decode_noise_space = "raw";
  o.text_padding = "attended";
  o.frame_positions = "causal";
  o.window_frames = 40;
  const auto j = resolve(o);
  EXPECT_EQ(j["image_prep"], "official");
  EXPECT_EQ(j["image_crf"], 0);
  EXPECT_EQ(j["decode_noise_space"], "raw");
  EXPECT_EQ(j["text_padding"], "attended");
  EXPECT_EQ(j["frame_positions"], "causal");
  EXPECT_EQ(j["window_overlap"], 24);
  EXPECT_EQ(j["window_strength"], 0.5);
  EXPECT_EQ(j["window_match"], 0);
  for (const char* ltxv_generate_options::*field : {&ltxv_generate_options::image_prep, &ltxv_generate_options::decode_noise_space,
                                                     &ltxv_generate_options::text_padding, &ltxv_generate_options::frame_positions}) {
    o = small_request();
    o.*field = "x";
    ltxv_error error = ltxv_error_init();
    ltxv_text* text = nullptr;
    EXPECT_EQ(ltxv_generate_resolve(tiny_engine(), &o, &text, &error), LTXV_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.message).find("\"x\" is not one of"), std::string::npos) << error.message;
  }
}

ltxv_status status_of(const ltxv_generate_options& o, std::string& message) {
  ltxv_error error = ltxv_error_init();
  ltxv_video* video = nullptr;
  const ltxv_status status = ltxv_generate(tiny_engine(), &o, &video, &error);
  EXPECT_EQ(video, nullptr);
  message = error.message;
  return status;
}

TEST(Arguments, TextMustBeUtf8) {
  // A lone continuation byte, an overlong slash, a surrogate, a value past the last code point, a character cut short.
  for (const char* bad : {"ab\x80", "ab\xC0\xAF", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80", "ab\xE2\x82"}) {
    auto o = small_request();
    o.prompt = bad;
    std::string message;
    EXPECT_EQ(status_of(o, message), LTXV_INVALID_ARGUMENT);
    EXPECT_EQ(message, "prompt is not UTF-8: bad byte at offset 2");
  }
}

TEST(Arguments, WrongValuesNameTheFieldBeforeAnyWork) {
  const auto expect = [](const char* word, auto change) {
    auto o = small_request();
    change(o);
    std::string message;
    EXPECT_EQ(status_of(o, message), LTXV_INVALID_ARGUMENT) << message;
    EXPECT_NE(message.find(word), std::string::npos) << message;
  };
  expect("-32", [](auto& o) { o.width_px = -32; });
  expect("step", [](auto& o) { o.step_count = -1; });
  expect("sigmas", [](auto& o) { o.sigma_count = 3; });
  expect("noise_kind", [](auto& o) { o.noise_kind = 77; });
  expect("guidance", [](auto& o) { o.guidance_scale = -1e300; });
  expect("prompt", [](auto& o) { o.prompt = nullptr; });
  expect("loras", [](auto& o) { o.lora_count = 1; });
  expect("control strength", [](auto& o) { o.control_strength = -1; });
}

TEST(Arguments, LorasAndControlReachTheRequest) {
  ltxv_lora loras[3] = {ltxv_lora_init(), ltxv_lora_init(), ltxv_lora_init()};
  const char* paths[3] = {"a.safetensors", "b.safetensors", "c.safetensors"};
  for (int i = 0; i < 3; ++i) loras[i].path = paths[i];
  loras[1].strength = -0.5;
  loras[2].zero_fields = LTXV_ZERO_STRENGTH;
  auto o = small_request();
  o.loras = loras;
  o.lora_count = 3;
  o.control_path = "depth.mp4";
  const auto j = resolve(o);
  EXPECT_EQ(j["loras"], nlohmann::json::parse(R"([{"path": "a.safetensors", "strength": 1}, {"path": "b.safetensors", "strength": -0.5},
                                                  {"path": "c.safetensors", "strength": 0}])"));
  EXPECT_EQ(j["control"], "depth.mp4");
  EXPECT_EQ(j["control_strength"], 1);

  o.control_path = nullptr;
  std::string message;
  EXPECT_EQ(status_of(o, message), LTXV_IO) << message;
  EXPECT_NE(message.find("a.safetensors"), std::string::npos) << message;
  loras[0].path = nullptr;
  EXPECT_EQ(status_of(o, message), LTXV_INVALID_ARGUMENT) << message;
}

TEST(Arguments, UnknownZeroBitsAreUnsupported) {
  auto o = small_request();
  o.zero_fields = 1u << 31;
  std::string message;
  EXPECT_EQ(status_of(o, message), LTXV_UNSUPPORTED);
}

TEST(ZeroFields, TellZeroFromThePresetsValue) {
  ltxv_engine_properties info = ltxv_engine_properties_init();
  ASSERT_EQ(ltxv_engine_info(tiny_engine(), &info, nullptr), LTXV_OK);
  ASSERT_NE(info.seed, 0u);
  auto o = small_request();
  o.seed = 0;
  EXPECT_EQ(resolve(o)["seed"], info.seed);
  EXPECT_EQ(resolve(o)["guidance_scale"], info.guidance_scale);
  o.zero_fields = LTXV_ZERO_SEED | LTXV_ZERO_GUIDANCE_RESCALE;
  EXPECT_EQ(resolve(o)["seed"], 0);
  EXPECT_EQ(resolve(o)["guidance_rescale"], 0.0);
}

TEST(Engine, OpeningWhatIsNotThereIsOneLineThatNamesIt) {
  ltxv_engine_options options = ltxv_engine_options_init();
  options.model = "/no/such/model";
  ltxv_engine* engine = reinterpret_cast<ltxv_engine*>(1);
  ltxv_error error = ltxv_error_init();
  EXPECT_NE(ltxv_engine_open(&options, &engine, &error), LTXV_OK);
  EXPECT_EQ(engine, nullptr);
  const std::string message = error.message;
  EXPECT_NE(message.find("/no/such/model"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(Engine, DescribesItselfAndItsGrid) {
  const auto j = nlohmann::json::parse(ltxv_engine_describe(tiny_engine()));
  EXPECT_EQ(j["threads"], 1);
  ltxv_engine_properties info = ltxv_engine_properties_init();
  ASSERT_EQ(ltxv_engine_info(tiny_engine(), &info, nullptr), LTXV_OK);
  EXPECT_EQ(info.spatial_compression, 32);
  EXPECT_EQ(info.temporal_compression, 8);
  EXPECT_EQ(info.latent_channel_count, 8);
}

TEST(Engine, APresetsListOfGuidanceIsShownWhole) {
  TempFolder folder;
  const std::string release = folder.write("mine.json", R"({"name": "mine", "base": "ltxv-0.9.5+", "presets": {
    "default": {"guidance_timesteps": [1.0, 0.97, 0.9], "guidance_scale": [1, 6, 2]}}})");
  ltxv_engine_options options = ltxv_engine_options_init();
  options.model = kTinyModel.c_str();
  options.release = release.c_str();
  ltxv_engine* engine = nullptr;
  ASSERT_EQ(ltxv_engine_open(&options, &engine, nullptr), LTXV_OK);
  ltxv_engine_properties info = ltxv_engine_properties_init();
  ASSERT_EQ(ltxv_engine_info(engine, &info, nullptr), LTXV_OK);
  EXPECT_EQ(info.guidance_scale, 6);
  EXPECT_EQ(std::vector<double>(info.guidance_scales, info.guidance_scales + info.guidance_scale_count), (std::vector<double>{1, 6, 2}));
  EXPECT_EQ(std::vector<double>(info.guidance_timesteps, info.guidance_timesteps + info.guidance_timestep_count), (std::vector<double>{1, 0.97, 0.9}));
  ltxv_engine_free(engine);
  ASSERT_EQ(ltxv_engine_info(tiny_engine(), &info, nullptr), LTXV_OK);
  EXPECT_EQ(info.guidance_scale_count, 0);
  EXPECT_EQ(info.guidance_scales, nullptr);
}

}  // namespace
}  // namespace ltxv::test
