// Programs compiled against an older or a newer header than the library.
#include <cstddef>
#include <cstring>

#include "api/fixture.h"

namespace ltxv::test {
namespace {

ltxv_status resolve_status(const void* options, ltxv_error* error) {
  ltxv_text* text = nullptr;
  const ltxv_status status =
      ltxv_generate_resolve(tiny_engine(), static_cast<const ltxv_generate_options*>(options), &text, error);
  ltxv_text_free(text);
  return status;
}

TEST(StructSize, OlderCallersMissingTailCountsAsZero) {
  ltxv_generate_options o = small_request();
  o.struct_size = offsetof(ltxv_generate_options, step_count);
  o.step_count = -5;  // lies behind the caller's struct: must not be read
  o.seed = 99;
  ltxv_engine_properties info = ltxv_engine_properties_init();
  ASSERT_EQ(ltxv_engine_info(tiny_engine(), &info, nullptr), LTXV_OK);
  const auto resolved = resolve(o);
  EXPECT_EQ(resolved["width"], 64);
  EXPECT_EQ(resolved["seed"], info.seed);
}

struct Newer {
  ltxv_generate_options known;
  uint64_t field_of_the_future;
};

TEST(StructSize, NewerCallersZeroTailIsAccepted) {
  Newer o{small_request(), 0};
  o.known.struct_size = sizeof(Newer);
  EXPECT_EQ(resolve_status(&o, nullptr), LTXV_OK);
}

TEST(StructSize, NewerCallersNonZeroTailIsUnsupported) {
  Newer o{small_request(), 1};
  o.known.struct_size = sizeof(Newer);
  ltxv_error error = ltxv_error_init();
  EXPECT_EQ(resolve_status(&o, &error), LTXV_UNSUPPORTED);
  EXPECT_NE(std::string(error.message).find(std::to_string(sizeof(Newer))), std::string::npos) << error.message;
}

TEST(StructSize, SizesNoStructCanHaveAreRefused) {
  for (const uint32_t size : {0u, 4u, 7u}) {
    ltxv_generate_options o = small_request();
    o.struct_size = size;
    ltxv_error error = ltxv_error_init();
    EXPECT_EQ(resolve_status(&o, &error), LTXV_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.message).find("struct_size is " + std::to_string(size)), std::string::npos)
        << error.message;
  }
}

struct BiggerCondition {
  ltxv_condition known;
  uint64_t more;
};

TEST(StructSize, ArraysStepByTheFirstElementsSize) {
  const TempFolder folder;
  const std::string first = folder / "a.safetensors", second = folder / "b.safetensors";
  ASSERT_EQ(ltxv_tensors_save(make_frames({1, 3, 1, 32, 64}).get(), first.c_str(), nullptr), LTXV_OK);
  ASSERT_EQ(ltxv_tensors_save(make_frames({1, 3, 1, 32, 64}).get(), second.c_str(), nullptr), LTXV_OK);
  BiggerCondition items[2] = {};
  for (int i = 0; i < 2; ++i) {
    items[i].known.struct_size = sizeof(BiggerCondition);
    items[i].known.path = i == 0 ? first.c_str() : second.c_str();
    items[i].known.frame_index = 8 * i;
  }
  ltxv_generate_options o = small_request();
  o.conditions = &items[0].known;
  o.condition_count = 2;
  const auto resolved = resolve(o);
  ASSERT_EQ(resolved["conditions"].size(), 2u);
  EXPECT_EQ(resolved["conditions"][0]["path"], first);
  EXPECT_EQ(resolved["conditions"][1]["path"], second);
  EXPECT_EQ(resolved["conditions"][1]["frame"], 8);

  items[1].known.struct_size = sizeof(ltxv_condition);
  EXPECT_EQ(resolve_status(&o, nullptr), LTXV_INVALID_ARGUMENT);
  o.conditions = nullptr;
  EXPECT_EQ(resolve_status(&o, nullptr), LTXV_INVALID_ARGUMENT);
}

TEST(StructSize, ResultsStayInsideTheCallersStruct) {
  const VideoHandle video = generate(small_request());
  union {
    ltxv_video_properties known;
    unsigned char bytes[sizeof(ltxv_video_properties) + 8];
  } room;
  std::memset(room.bytes, 0xAB, sizeof room.bytes);
  room.known.struct_size = offsetof(ltxv_video_properties, height_px);
  ASSERT_EQ(ltxv_video_info(video.get(), &room.known, nullptr), LTXV_OK);
  EXPECT_EQ(room.known.width_px, 64);
  EXPECT_EQ(room.known.struct_size, offsetof(ltxv_video_properties, height_px));
  for (size_t i = offsetof(ltxv_video_properties, height_px); i < sizeof room.bytes; ++i)
    EXPECT_EQ(room.bytes[i], 0xAB) << i;

  room.known.struct_size = sizeof room.bytes;  // a newer caller gets zeros where this library knows nothing
  ASSERT_EQ(ltxv_video_info(video.get(), &room.known, nullptr), LTXV_OK);
  for (size_t i = sizeof(ltxv_video_properties); i < sizeof room.bytes; ++i) EXPECT_EQ(room.bytes[i], 0) << i;
}

TEST(StructSize, ErrorsAreWrittenAsFarAsTheStructReaches) {
  unsigned char bytes[512];
  std::memset(bytes, 0xAB, sizeof bytes);
  auto* error = reinterpret_cast<ltxv_error*>(bytes);
  error->struct_size = 16;
  EXPECT_EQ(ltxv_output_check(nullptr, error), LTXV_INVALID_ARGUMENT);
  EXPECT_EQ(error->status, LTXV_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(error->message), "path is");  // "path is NULL" cut to 7 characters and the NUL
  for (size_t i = 16; i < sizeof bytes; ++i) ASSERT_EQ(bytes[i], 0xAB) << i;

  error->struct_size = 0;  // the size of the first version, 512
  EXPECT_EQ(ltxv_output_check(nullptr, error), LTXV_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(error->message), "path is NULL");
}

TEST(StructSize, LongMessagesAreCutBetweenCharacters) {
  std::string path;
  for (int i = 0; i < 400; ++i) path += "\xC3\xBC";  // u with diaeresis, 2 bytes
  ltxv_error error = ltxv_error_init();
  ltxv_text* text = nullptr;
  ASSERT_NE(ltxv_inspect(path.c_str(), &text, &error), LTXV_OK);
  const std::string message = error.message;
  ASSERT_LE(message.size(), 503u);
  ASSERT_GE(message.size(), 490u);
  EXPECT_NO_THROW(nlohmann::json(message).dump()) << "not UTF-8";
}

}  // namespace
}  // namespace ltxv::test
