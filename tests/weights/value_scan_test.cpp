// What is found in stored values, against values put there.
#include "weights/value_scan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/temp_folder.h"
#include "weights/gguf_builder.h"
#include "weights/tensor_io.h"

namespace ltxv::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

struct Stored {
  TempFolder folder;
  std::shared_ptr<const TensorSource> source;
  explicit Stored(const at::Tensor& tensor) {
    save_tensors(folder / "t.safetensors", {{"t", tensor}});
    source = open_tensors(folder / "t.safetensors");
  }
  ValueScan scan() const { return scan_values(source->entries().front(), {}); }
};

// 1000 values of size at most 1 with others planted among them, far from each other.
at::Tensor planted(std::initializer_list<double> values) {
  at::Tensor t = at::linspace(-1, 1, 1000, at::kDouble);
  int64_t at = 3;
  for (const double value : values) t[at] = value, at += 251;
  return t;
}

TEST(ValueScan, CountsWhatIsNotFiniteInEveryType) {
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kFloat8_e5m2}) {
    const ValueScan scan = Stored(planted({kNan, -kInf, 40, kInf}).to(type)).scan();
    EXPECT_EQ(scan.count, 1000) << type;
    EXPECT_EQ(scan.nan_count, 1) << type;
    EXPECT_EQ(scan.inf_count, 2) << type;
    EXPECT_EQ(scan.beyond_fp16, 0) << type;
    EXPECT_EQ(scan.largest, 40) << type;  // exact in all of them
    EXPECT_FALSE(scan.all_zero());
  }
  // No infinity in this type: what is not finite is NaN.
  const ValueScan scan = Stored(planted({kNan, -448}).to(at::kFloat8_e4m3fn)).scan();
  EXPECT_EQ(scan.nan_count, 1);
  EXPECT_EQ(scan.inf_count, 0);
  EXPECT_EQ(scan.largest, 448);
}

TEST(ValueScan, FindsWhatFp16DoesNotHold) {
  for (const auto type : {at::kDouble, at::kFloat}) {
    EXPECT_EQ(Stored(planted({65504, -65504}).to(type)).scan().beyond_fp16, 0) << type;
    EXPECT_EQ(Stored(planted({65536, -7e4}).to(type)).scan().beyond_fp16, 2) << type;
  }
  EXPECT_EQ(Stored(planted({65280, -65536}).to(at::kBFloat16)).scan().beyond_fp16, 1);  // neighbours in this type
  EXPECT_EQ(Stored(planted({65504}).to(at::kHalf)).scan().beyond_fp16, 0);
  EXPECT_TRUE(Stored(planted({1e39})).scan().beyond_fp32);
  EXPECT_FALSE(Stored(planted({1e38})).scan().beyond_fp32);
}

TEST(ValueScan, CountsBeyondWhatACounterOfTheWordHolds) {
  const ValueScan scan = Stored(at::full({100000}, kNan, at::kFloat).to(at::kFloat8_e4m3fn)).scan();
  EXPECT_EQ(scan.nan_count, 100000);
  EXPECT_EQ(Stored(at::full({300000}, 1e5, at::kFloat)).scan().beyond_fp16, 300000);
}

TEST(ValueScan, LooksAtFractionsOfBlocksAndLeavesIntegersAlone) {
  // Q8_0: scale 2 (f16 0x4000), then 32 codes; 127 * 2 = 254. The second block has scale infinity and one code that is not 0.
  const std::string good = std::string(1, '\0') + "\x40" + std::string(31, '\1') + "\x7f";
  const std::string bad = std::string(1, '\0') + "\x7c" + std::string(32, '\1');
  const TempFolder folder;
  const auto path = folder.write("q.gguf", gguf::file(1, 0, gguf::tensor("b", gguf::u64(32) + gguf::u64(2), 8, 0), good + bad));
  const auto source = open_tensors(path);
  const ValueScan scan = scan_values(source->entries().front(), {});
  EXPECT_EQ(scan.count, 64);
  EXPECT_EQ(scan.largest, 254);
  EXPECT_EQ(scan.inf_count, 32);
  EXPECT_EQ(Stored(at::full({4}, 9, at::kLong)).scan().count, 0);
  EXPECT_TRUE(Stored(at::zeros({4, 4})).scan().all_zero());
}

TEST(ValueScan, StopsWhenCancelled) {
  const Stored stored(at::zeros({8}));
  RunHooks hooks;
  const auto token = std::make_shared<CancelToken>();
  token->trip();
  hooks.cancel = token;
  EXPECT_THROW(scan_values(stored.source->entries().front(), RunContext(hooks)), Cancelled);
}

at::Tensor hadamard(int64_t n) {
  at::Tensor h = at::ones({1, 1});
  for (; h.size(0) < n; h = at::cat({at::cat({h, h}, 1), at::cat({h, -h}, 1)}, 0)) {
  }
  return h / std::sqrt(static_cast<double>(n));
}

TEST(ColumnUnevenness, TellsTurnedMatricesFromOthers) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(5);
  // Columns of very different strength, as inputs of very different importance give them.
  const at::Tensor strength = at::exp(at::randn({256}, generator) * 0.5);
  const at::Tensor weight = at::randn({256, 256}, generator) * strength;
  const auto unevenness = [](const at::Tensor& t) { return column_unevenness(Stored(t).source->entries().front()); };
  // Deviation over mean of a log-normal with 0.5: sqrt(exp(0.25) - 1) = 0.53; of chance: 1 / sqrt(2 * 256) = 0.044.
  EXPECT_NEAR(unevenness(weight), 0.53, 0.15);
  for (const auto type : {at::kFloat, at::kFloat8_e4m3fn, at::kBFloat16})
    EXPECT_NEAR(unevenness(at::mm(weight, hadamard(256)).to(type)), 0.044, 0.02) << type;
}

}  // namespace
}  // namespace ltxv::test
