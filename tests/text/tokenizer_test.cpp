#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "text/model_proto.h"
#include "text/sentencepiece_check.h"

namespace ltxv::test {
namespace {

const std::string kGolden = LTXV_SOURCE_DIR "/tests/golden/tokenizer/";
const std::string& good_model() {
  static const std::string bytes = read_file(kGolden + "spiece.model");
  return bytes;
}

// The cases come from make_tokenizer_golden.py, which runs the tokenizer of `transformers`.
TEST(Tokenizer, GivesTheIdsOfTheReference) {
  const auto golden = nlohmann::json::parse(read_file(kGolden + "cases.json"));
  int checked = 0;
  for (const auto& [name, config] : golden["configs"].items()) {
    const TempFolder folder;
    folder.write("spiece.model", good_model());
    if (!config.is_null()) folder.write("tokenizer_config.json", config.dump());
    const Tokenizer tokenizer = Tokenizer::load(folder / "spiece.model");
    EXPECT_EQ(tokenizer.piece_count(), golden["piece_count"].get<int64_t>());
    for (const auto& expected : golden["cases"]) {
      if (expected["config"] != name) continue;
      SCOPED_TRACE(expected.dump());
      const auto length = expected["max_length"].get<int64_t>();
      auto ids = expected["ids"].get<std::vector<int64_t>>();
      std::vector<int64_t> mask(ids.size(), 1);
      ids.resize(static_cast<size_t>(length), 0);
      mask.resize(static_cast<size_t>(length), 0);
      const TokenizedPrompt got = tokenizer.encode(expected["text"].get<std::string>(), length);
      EXPECT_EQ(got.ids, ids);
      EXPECT_EQ(got.mask, mask);
      EXPECT_EQ(got.dropped_count, expected["dropped"].get<int64_t>());
      ++checked;
    }
  }
  EXPECT_EQ(checked, static_cast<int>(golden["cases"].size()));
  EXPECT_GT(checked, 300);
}

TEST(Tokenizer, ExtraIdsLieAboveThePieces) {
  const TempFolder folder;
  folder.write("spiece.model", good_model());
  const int64_t pieces = Tokenizer::load(folder / "spiece.model").piece_count();
  EXPECT_EQ(Tokenizer::load(folder / "spiece.model").id_limit(), pieces + 100);
  folder.write("tokenizer_config.json", R"({"extra_ids":0})");
  EXPECT_EQ(Tokenizer::load(folder / "spiece.model").id_limit(), pieces);
  folder.write("added_tokens.json", R"({"<extra_id_0>":32099})");
  const Tokenizer tokenizer = Tokenizer::load(folder / "spiece.model");
  EXPECT_EQ(tokenizer.id_limit(), 32100);
  EXPECT_EQ(tokenizer.encode("<extra_id_0>", 3).ids, (std::vector<int64_t>{32099, 1, 0}));
}

TEST(Tokenizer, RefusesPromptsItCannotRead) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden + "spiece.model");
  const auto refused = [&](const std::string& words, std::string_view prompt, int64_t length = 8) {
    expect_error(ErrorCode::invalid_argument, words, [&] { tokenizer.encode(prompt, length); });
  };
  refused("not valid UTF-8 at byte 3", "abc\xff");
  refused("not valid UTF-8 at byte 1", "a\xed\xa0\x80");     // a lone surrogate
  refused("not valid UTF-8 at byte 0", "\xc0\xaf");          // overlong
  refused("not valid UTF-8 at byte 0", "\xe0\x80\xaf");      // overlong
  refused("not valid UTF-8 at byte 0", "\xf4\x90\x80\x80");  // above U+10FFFF
  refused("not valid UTF-8 at byte 2", "ab\xe4\xbb");        // cut off
  refused("zero byte at byte 1", std::string_view("a\0b", 3));
  refused("has 32769 bytes, at most 32768", std::string(32769, 'a'));
  refused("token count 0 is not from 1 to 65536", "a", 0);
  refused("token count -1", "a", -1);
  refused("token count 9223372036854775807", "a", std::numeric_limits<int64_t>::max());
  EXPECT_EQ(tokenizer.encode("", 1).ids, std::vector<int64_t>{1});
}

TEST(Tokenizer, TakesTheLongestPromptsQuickly) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden + "spiece.model");
  std::string combining = "e", right_to_left;
  while (combining.size() < 20'000) combining += "\xcc\x81";
  while (right_to_left.size() < 32'000) right_to_left += "\xd9\x85";
  for (const std::string& prompt :
       {combining, right_to_left, std::string(32768, '<'), std::string(32768, 'a'), std::string(32768, ' ')}) {
    const std::clock_t start = std::clock();  // time of this process, whatever else runs
    EXPECT_EQ(tokenizer.encode(prompt, 256).ids.size(), 256u);
    EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 2);
  }
}

std::u32string quiet_trie() { return std::u32string(256, U'\0'); }

// A trie of one entry: "a" (0x61) leads to unit 0x61, whose value lies in unit 0. Layout: see sentencepiece_check.cpp.
std::u32string one_entry_trie(uint32_t value) {
  std::u32string units = quiet_trie();
  units[0x61] = static_cast<char32_t>(0x61u | 0x100u | ((0x61u ^ 0x40u) << 10));  // children at 0x40
  units[0x40] = static_cast<char32_t>(0x80000000u | value);
  return units;
}

struct BadModel {
  const char* name;
  std::string bytes;
  ErrorCode code;
  const char* words;
};

std::vector<BadModel> bad_models() {
  using namespace proto;
  const auto F = ErrorCode::bad_weights;
  const auto U = ErrorCode::unsupported;
  const std::string& good = good_model();
  const std::string first = piece("<pad>", 0, 3) + piece("</s>", 0, 3), unknown = piece("<unk>", 0, 2),
                    a = piece("a", -1, 1);
  std::u32string outside = quiet_trie(), circle = quiet_trie(), deep(256 * 64, U'\0');
  outside[0] = static_cast<char32_t>(0x1000u << 10);
  circle[0x61] = 0x61u | (0x61u << 10);  // "a" leads back to the root's children: a, aa, aaa, ...
  // 40 entries a, aa, aaa, ...: every step goes to a block of its own and has a value.
  for (uint32_t i = 0, unit = 0; i < 40; ++i) {
    const uint32_t children = (i + 1) * 256;
    deep[unit] |= static_cast<char32_t>((unit ^ children) << 10 | (i > 0 ? 0x100u : 0u));
    deep[children] = static_cast<char32_t>(0x80000000u);
    unit = children ^ 0x61u;
    deep[unit] = 0x61u;
  }
  std::string random(4096, '\0');
  std::mt19937 generator(7);
  for (char& c : random) c = static_cast<char>(generator());
  return {
      {"empty", "", F, "is empty"},
      {"random", random, F, "is no sentencepiece model or damaged"},
      {"text", "hello world, this is text", F, "is no sentencepiece model or damaged"},
      {"cut", good.substr(0, good.size() / 2), F, "is no sentencepiece model or damaged"},
      {"long_piece", good + piece(std::string(1'000'000, 'x'), -1, 1), F, "has 1000000 bytes, at most 512"},
      {"piece_513", good + piece(std::string(513, 'x'), -1, 1), F, "has 513 bytes, at most 512"},
      {"piece_not_utf8", good + piece("\xff", -1, 1), F, "is not UTF-8"},
      {"piece_zero_byte", good + piece(std::string_view("x\0y", 3), -1, 1), F, "holds a zero byte"},
      {"piece_empty", good + piece("", -1, 1), F, "is empty"},
      {"piece_nameless", good + bytes_field(1, float_field(2, -1)), F, "is empty"},
      {"piece_twice", good + piece("a", -1, 1) + piece("a", -2, 1), F, "refused by sentencepiece"},
      {"piece_type", good + piece("xyz", -1, 7), F, "has the type 7, 1 to 6 are known"},
      {"score_nan", good + piece("xyz", std::nanf(""), 1), F, "score that is NaN or Inf"},
      {"score_inf", good + piece("xyz", INFINITY, 1), F, "score that is NaN or Inf"},
      {"score_as_varint", good + bytes_field(1, bytes_field(1, "xyz") + varint_field(2, 5)), F,
       "has field 2 in another type"},
      {"no_unknown", first + a, F, "has 0 unknown pieces, exactly 1 is needed"},
      {"two_unknown", good + piece("<unk2>", 0, 2), F, "has 2 unknown pieces"},
      {"no_pieces", first + unknown, F, "has no pieces"},
      {"other_order", unknown + first + a, F, "is no T5 vocabulary: piece 0 is not '<pad>'"},
      {"bpe", good + bytes_field(2, varint_field(3, 2)), U, "of type 2, only unigram"},
      {"byte_fallback", good + bytes_field(2, varint_field(35, 1)), U, "byte fallback"},
      {"wire_type_3", good + "\x0b", F, "wire type 3"},
      {"field_0", good + std::string("\x00\x00", 2), F, "a field of number 0"},
      {"endless_number", good + std::string(11, '\xff'), F, "more than 64 bits"},
      {"length_over_file", good + "\x0a" + varint(~uint64_t{0}), F,
       "a field of 18446744073709551615 bytes where 0 are left"},
      {"table_short", good + bytes_field(3, bytes_field(2, "abc")), F, "normalisation table is cut off"},
      {"table_over_blob", good + bytes_field(3, bytes_field(2, std::string("\xff\xff\xff\x7f....", 8))), F,
       "has a trie of 2147483647 bytes in 8"},
      {"table_no_trie", good + bytes_field(3, bytes_field(2, std::string(9, '\0'))), F, "has a trie of 0 bytes"},
      {"table_unfinished", good + normaliser(quiet_trie(), "x"), F, "does not end with a zero byte"},
      {"table_not_utf8", good + normaliser(quiet_trie(), std::string_view("\xff\0", 2)), F, "text that is not UTF-8"},
      {"trie_root_outside", good + normaliser(outside, std::string_view("x\0", 2)), F, "points outside of itself"},
      {"trie_value_outside", good + normaliser(one_entry_trie(2), std::string_view("x\0", 2)), F,
       "points outside of its texts"},
      {"trie_circle", good + normaliser(circle, std::string_view("x\0", 2)), F, "runs in a circle"},
      {"trie_deep", good + normaliser(deep, std::string_view("x\0", 2)), F, "more than 32 entries"},
      {"denormaliser", good + bytes_field(5, bytes_field(2, "abc")), F, "normalisation table is cut off"},
  };
}

TEST(Tokenizer, EveryBadModelIsRefusedWithItsNameAndTheRule) {
  const TempFolder folder;
  ::testing::internal::CaptureStderr();
  for (const BadModel& bad : bad_models()) {
    SCOPED_TRACE(bad.name);
    const std::string path = folder.write("spiece.model", bad.bytes);
    expect_error(bad.code, bad.words, [&] { Tokenizer::load(path); });
    expect_error(bad.code, path + ": ", [&] { Tokenizer::load(path); });
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  expect_error(ErrorCode::io, "is no file that can be read", [&] { Tokenizer::load(folder / "absent.model"); });
  expect_error(ErrorCode::io, "is no file that can be read", [&] { Tokenizer::load(folder.path()); });
  expect_error(ErrorCode::io, "is no file that can be read", [] { Tokenizer::load("/dev/zero"); });
}

// The crafted tries above are refused for what is wrong with them: a right one of the same making is used.
TEST(Tokenizer, ACraftedTableWithoutFaultsWorks) {
  const TempFolder folder;
  folder.write("spiece.model", good_model() + proto::normaliser(one_entry_trie(0), std::string_view("fox\0", 4)));
  const Tokenizer crafted = Tokenizer::load(folder / "spiece.model");
  EXPECT_EQ(crafted.encode("a", 8).ids, Tokenizer::load(kGolden + "spiece.model").encode("fox", 8).ids);
}

TEST(Tokenizer, RefusesDamagedCompanionFiles) {
  const TempFolder folder;
  const std::string path = folder.write("spiece.model", good_model());
  const auto refused = [&](const std::string& words, std::string_view name, std::string_view json) {
    folder.write(name, json);
    expect_error(ErrorCode::bad_weights, words, [&] { Tokenizer::load(path); });
    std::filesystem::remove(folder / name);
  };
  refused("tokenizer_config.json: is not a JSON object", "tokenizer_config.json", "[]");
  refused("tokenizer_config.json: is not a JSON object", "tokenizer_config.json", "{");
  refused("tokenizer_config.json: is not a JSON object", "tokenizer_config.json", std::string(1'000'000, '['));
  refused("extra_ids is -1", "tokenizer_config.json", R"({"extra_ids":-1})");
  refused("extra_ids is 1000000000", "tokenizer_config.json", R"({"extra_ids":1000000000})");
  refused("added token 'x' has no usable id", "added_tokens.json", R"({"x":-1})");
  refused("added token 'x' has no usable id", "added_tokens.json", R"({"x":"1"})");
  refused("added token '' has no usable id", "added_tokens.json", R"({"":1})");
  refused("added token 'x' has no usable id", "tokenizer_config.json",
          R"({"added_tokens_decoder":{"one":{"content":"x"}}})");
}

TEST(SentencepieceCheck, EveryTruncationOfASmallModelIsRefusedOrComplete) {
  using namespace proto;
  const std::string parts[] = {piece("<pad>", 0, 3), piece("</s>", 0, 3), piece("<unk>", 0, 2), piece("a", -1, 1),
                               piece("b", -2, 1)};
  std::string model;
  std::vector<size_t> ends;
  for (const std::string& part : parts) ends.push_back((model += part).size());
  for (size_t size = 0; size <= model.size(); ++size) {
    // From the fourth piece on, a cut between two pieces leaves a smaller but whole model.
    const bool whole = size == ends[3] || size == ends[4];
    try {
      check_sentencepiece_model(std::string_view(model).substr(0, size), "m");
      EXPECT_TRUE(whole) << size;
    } catch (const BadWeights&) {
      EXPECT_FALSE(whole) << size;
    }
  }
}

// What passes the check must be safe to use: a crash ends the test program.
TEST(SentencepieceCheck, DamagedModelsAreRefusedOrHarmless) {
  const TempFolder folder;
  int accepted = 0, refused = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 generator(seed);
    std::string bytes = good_model();
    for (int i = 0; i < 3; ++i) bytes[generator() % bytes.size()] ^= static_cast<char>(1u << generator() % 8);
    try {
      const Tokenizer tokenizer = Tokenizer::load(folder.write("spiece.model", bytes));
      const auto ids = tokenizer
                           .encode(
                               "a caf\xc3\xa9 \xef\xac\x81sh \xe4\xbb\x8a\xe6\x97\xa5 \xf0\x9f\xa6\x8a </s> "
                               "\xe1\x84\x80\xe1\x85\xa1",
                               64)
                           .ids;
      EXPECT_LT(*std::max_element(ids.begin(), ids.end()), tokenizer.id_limit());
      ++accepted;
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::internal) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace ltxv::test
