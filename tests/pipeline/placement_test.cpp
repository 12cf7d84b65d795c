// Placement is a pure function: dtype, residency and peaks follow from numbers.
#include "pipeline/placement.h"

#include "support/expect_error.h"

namespace ltxv {
namespace {

using test::expect_error;

constexpr int64_t kGiB = int64_t{1} << 30;

// The 2B release: T5 4.76e9 parameters, transformer 1.92e9, VAE about 0.47e9 a half.
PlacementInput real_model(int64_t memory) {
  return {.parameter_counts = {4'762'000'000, 1'923'000'000, 470'000'000, 465'000'000},
          .latent = {16, 15, 22},
          .transformer_width = 2048,
          .pass_count = 2,
          .memory_budget_bytes = memory};
}

TEST(Placement, WeightBytesAreParametersTimesElement) {
  auto in = real_model(64 * kGiB);
  in.dtype = "fp32";
  EXPECT_EQ(plan_placement(in).weight_bytes[1], 4 * 1'923'000'000ll);
  in.dtype = "bf16";
  EXPECT_EQ(plan_placement(in).weight_bytes[1], 2 * 1'923'000'000ll);
}

TEST(Placement, AutoTakesBf16OnlyWhereItIsFastAndTheModelLarge) {
  auto in = real_model(64 * kGiB);
  in.fast_bf16 = true;
  EXPECT_EQ(plan_placement(in).types[1], ComputeType::bf16);
  in.fast_bf16 = false;
  EXPECT_EQ(plan_placement(in).types[1], ComputeType::f32);
  in.fast_bf16 = true;
  in.parameter_counts = {1000, 1000, 1000, 1000};
  EXPECT_EQ(plan_placement(in).types[1], ComputeType::f32);
}

TEST(Placement, WhatDoesNotFitTogetherIsFreedAfterItsStage) {
  auto in = real_model(512 * kGiB);
  in.dtype = "bf16";
  EXPECT_EQ(plan_placement(in).residency[0], Residency::resident);
  in.memory_budget_bytes = 16 * kGiB;
  const auto small = plan_placement(in);
  EXPECT_EQ(small.residency[0], Residency::per_stage);
  // Then the peak is the largest stage, not the sum: at least T5's 9.5 GB, less than T5 and transformer together.
  EXPECT_GE(small.peak_bytes, small.weight_bytes[0]);
  EXPECT_LT(small.peak_bytes, small.weight_bytes[0] + small.weight_bytes[1]);
}

TEST(Placement, PacksTheTransformerOnlyWhereItsBf16LeavesHalfTheMemory) {
  auto in = real_model(16 * kGiB);  // 3.85 GB of weights and less than 1 GB of activations
  in.dtype = "bf16";
  EXPECT_FALSE(plan_placement(in).pack_transformer);  // no unit that would read them
  in.fast_bf16 = true;
  EXPECT_TRUE(plan_placement(in).pack_transformer);
  in.memory_budget_bytes = 7 * kGiB;
  EXPECT_FALSE(plan_placement(in).pack_transformer);
  in.memory_budget_bytes = 64 * kGiB;
  in.dtype = "fp32";
  EXPECT_FALSE(plan_placement(in).pack_transformer);
}

TEST(Placement, ActivationsGrowWithTheVideo) {
  auto in = real_model(64 * kGiB);
  const auto small = plan_placement(in);
  in.latent.frames *= 2;
  const auto large = plan_placement(in);
  EXPECT_EQ(large.denoise_activation_bytes, 2 * small.denoise_activation_bytes);
  EXPECT_GT(large.decode_activation_bytes, small.decode_activation_bytes);
}

TEST(Placement, DevicesAndDtypesAreCheckedByName) {
  auto in = real_model(64 * kGiB);
  in.dtype = "int8";
  expect_error(ErrorCode::invalid_argument, "dtype \"int8\" is not one of auto, fp32, bf16, fp16",
               [&] { plan_placement(in); });
  in.dtype = "fp16";
  expect_error(ErrorCode::unsupported, "fp16", [&] { plan_placement(in); });
  in.dtype = "auto";
  for (const std::string device : {"cuda", "cuda:1"}) {
    in.device = device;
    expect_error(ErrorCode::device, device, [&] { plan_placement(in); });
  }
  in.device = "tpu";
  expect_error(ErrorCode::invalid_argument, "device \"tpu\" is not one of", [&] { plan_placement(in); });
}

}  // namespace
}  // namespace ltxv
