// Codes of the C ABI, texts of one line.
#include "base/error.h"

#include <ltxv/ltxv.h>

#include <locale>

#include "support/expect_error.h"

namespace ltxv {
namespace {

TEST(Error, CodesEqualTheStatusConstantsOfTheCInterface) {
  EXPECT_EQ(static_cast<int>(ErrorCode::invalid_argument), LTXV_INVALID_ARGUMENT);
  EXPECT_EQ(static_cast<int>(ErrorCode::io), LTXV_IO);
  EXPECT_EQ(static_cast<int>(ErrorCode::bad_weights), LTXV_BAD_WEIGHTS);
  EXPECT_EQ(static_cast<int>(ErrorCode::unsupported), LTXV_UNSUPPORTED);
  EXPECT_EQ(static_cast<int>(ErrorCode::out_of_memory), LTXV_OUT_OF_MEMORY);
  EXPECT_EQ(static_cast<int>(ErrorCode::device), LTXV_DEVICE);
  EXPECT_EQ(static_cast<int>(ErrorCode::cancelled), LTXV_CANCELLED);
  EXPECT_EQ(static_cast<int>(ErrorCode::internal), LTXV_INTERNAL);
  EXPECT_EQ(static_cast<int>(ErrorCode::numeric), LTXV_NUMERIC);
}

TEST(Error, TextStreamsItsParts) {
  EXPECT_EQ(text("width is ", 33, ", a multiple of ", 32, " is needed"), "width is 33, a multiple of 32 is needed");
  EXPECT_EQ(text(), "");
}

TEST(Text, WritesNumbersTheSameInEveryLocale) {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    char do_decimal_point() const override { return ','; }
    std::string do_grouping() const override { return "\3"; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  EXPECT_EQ(text(1234567, " ", 0.5), "1234567 0.5");
  std::locale::global(before);
}

TEST(Error, MacrosThrowTheirKindWithTheText) {
  test::expect_error(ErrorCode::invalid_argument, "got 3", [] { LTXV_CHECK(1 > 2, "got ", 3); });
  test::expect_error(ErrorCode::bad_weights, "tensor x", [] { LTXV_REQUIRE(BadWeights, false, "tensor ", "x"); });
  test::expect_error(ErrorCode::internal, "error_test.cpp", [] { LTXV_ASSERT(false, "broken"); });
  EXPECT_NO_THROW(LTXV_CHECK(true, "never"));
}

TEST(Error, PartsAreOnlyEvaluatedOnFailure) {
  int calls = 0;
  const auto count = [&] { return ++calls; };
  LTXV_CHECK(true, count());
  EXPECT_EQ(calls, 0);
  EXPECT_THROW(LTXV_CHECK(false, count()), InvalidArgument);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace ltxv
