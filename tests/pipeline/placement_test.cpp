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

TEST(Placement, QuantisedParametersTakeAByte) {
  auto in = real_model(64 * kGiB);
  in.quantised_parameters = 1'000'000'000;
  for (const int64_t device_memory : {int64_t{0}, 80 * kGiB}) {
    in.device_memory_bytes = device_memory;
    in.dtype = "bf16";
    EXPECT_EQ(plan_placement(in).weight_bytes[1], 2 * 1'923'000'000ll - 1'000'000'000);
    in.dtype = "fp32";
    EXPECT_EQ(plan_placement(in).weight_bytes[1], 4 * 1'923'000'000ll - 3 * 1'000'000'000ll);
  }
  in.stored_fp8[1] = true;  // a byte already
  EXPECT_EQ(plan_placement(in).weight_bytes[1], 1'923'000'000ll);
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

// T5's blocks of 4.63e9 parameters, two of 24 at a time, and its table: 1.04 GB instead of 9.52.
TEST(Placement, OnTheCpuTheTextEncodersBlocksTakeTurnsInTheirMappedFile) {
  auto in = real_model(24 * kGiB);
  in.dtype = "bf16";
  in.block_parameters[0] = 4'630'000'000;
  in.block_counts[0] = 24;
  const auto copied = plan_placement(in);
  EXPECT_EQ(copied.residency[0], Residency::per_stage);
  EXPECT_GE(copied.peak_bytes, 2 * 4'762'000'000ll);
  in.mapped_files = true;
  const auto mapped = plan_placement(in);
  EXPECT_EQ(mapped.residency[0], Residency::per_block);
  EXPECT_NEAR(mapped.weight_bytes[0], 2 * (132e6 + 4.63e9 / 12), 1e6);
  EXPECT_TRUE(mapped.keeps_everything);  // the rest is 5.7 GB
  EXPECT_EQ(mapped.residency[1], Residency::resident);
  in.memory_budget_bytes = 8 * kGiB;
  const auto small = plan_placement(in);
  EXPECT_FALSE(small.keeps_everything);
  EXPECT_EQ(small.residency[0], Residency::per_block);
  EXPECT_EQ(small.residency[1], Residency::per_stage);
}

TEST(Placement, PacksTheTransformerOnlyWhereItsBf16LeavesHalfTheMemory) {
  auto in = real_model(16 * kGiB);  // 3.85 GB of weights and less than 1 GB of activations
  in.dtype = "bf16";
  EXPECT_FALSE(plan_placement(in).pack_transformer);  // no unit that would read them
  in.fast_bf16 = true;
  EXPECT_TRUE(plan_placement(in).pack_transformer);
  in.memory_budget_bytes = 7 * kGiB;
  EXPECT_FALSE(plan_placement(in).pack_transformer);
  in.memory_budget_bytes = 16 * kGiB;  // 7.7 GB in f32 and its activations are more than half of that
  in.dtype = "fp32", in.packs_f32 = true;
  EXPECT_FALSE(plan_placement(in).pack_transformer);
  in.memory_budget_bytes = 24 * kGiB;
  EXPECT_TRUE(plan_placement(in).pack_transformer);
  in.packs_f32 = false;
  EXPECT_FALSE(plan_placement(in).pack_transformer);
  in.dtype = "bf16", in.memory_budget_bytes = 7 * kGiB;
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

// The same on a device of that much memory, in a machine of 64 GiB.
PlacementInput on_device(int64_t device_memory) {
  auto in = real_model(64 * kGiB);
  in.device_memory_bytes = device_memory;
  in.block_parameters = {4'630'000'000, 1'880'000'000};  // without T5's table of 131.6e6, and the few layers around the blocks
  in.block_counts = {24, 28};
  return in;
}
// 13B: twice the width, 48 blocks.
PlacementInput large_on_device(int64_t device_memory) {
  auto in = on_device(device_memory);
  in.parameter_counts[1] = 13'040'000'000;
  in.block_parameters[1] = 12'900'000'000;
  in.block_counts[1] = 48;
  in.transformer_width = 4096;
  return in;
}

struct DeviceCase {
  const char* name;
  int64_t gib;
  bool large, fp8;
  Residency text, transformer, decoder;
};

class PlacementOnDevice : public ::testing::TestWithParam<DeviceCase> {};

// In 1e9 bytes, bf16: T5 9.52, or 0.26 + 2/24 of 9.26 = 1.03 in turns; 2B 3.85, 13B 26.1 (fp8 13.0); VAE 1.87. Activations of 5280
// tokens, two passes: 0.65 at width 2048, 1.3 at 4096. The device keeps 0.94 for itself.
TEST_P(PlacementOnDevice, FitsTheMemory) {
  const DeviceCase& c = GetParam();
  auto in = c.large ? large_on_device(c.gib * kGiB) : on_device(c.gib * kGiB);
  in.stored_fp8[1] = c.fp8;
  const auto plan = plan_placement(in);
  EXPECT_TRUE(plan.on_device);
  EXPECT_EQ(plan.type(Component::transformer), ComputeType::bf16);
  EXPECT_EQ(plan.stays(Component::text_encoder), c.text);
  EXPECT_EQ(plan.stays(Component::transformer), c.transformer);
  EXPECT_EQ(plan.stays(Component::vae_decoder), c.decoder);
  EXPECT_LE(plan.peak_bytes, plan.budget_bytes);
  EXPECT_LT(plan.budget_bytes, in.device_memory_bytes);
  EXPECT_GE(plan.peak_bytes, *std::max_element(plan.stage_bytes.begin(), plan.stage_bytes.end()));
  EXPECT_FALSE(plan.pack_transformer);
}

constexpr auto kResident = Residency::resident, kStage = Residency::per_stage, kBlock = Residency::per_block;
INSTANTIATE_TEST_SUITE_P(All, PlacementOnDevice,
                         ::testing::Values(DeviceCase{"b2_80", 80, false, false, kResident, kResident, kResident},    // 15.2 + 0.65
                                           DeviceCase{"b2_24", 24, false, false, kResident, kResident, kResident},
                                           DeviceCase{"b2_16", 16, false, false, kResident, kResident, kResident},    // of 16.2
                                           DeviceCase{"b2_12", 12, false, false, kBlock, kResident, kResident},       // 6.75 + 0.65
                                           DeviceCase{"b2_8", 8, false, false, kBlock, kResident, kResident},         // of 7.6
                                           DeviceCase{"b2_6", 6, false, false, kBlock, kStage, kStage},               // 4.5 of 5.5
                                           DeviceCase{"b13_80", 80, true, false, kResident, kResident, kResident},    // 37.5 + 1.3
                                           DeviceCase{"b13_24", 24, true, false, kStage, kBlock, kStage},             // of 24.8
                                           DeviceCase{"b13_16", 16, true, false, kStage, kBlock, kStage},
                                           DeviceCase{"b13_12", 12, true, false, kStage, kBlock, kStage},             // T5 9.8 of 11.9
                                           DeviceCase{"b13_8", 8, true, false, kBlock, kBlock, kStage},
                                           DeviceCase{"b13_fp8_24", 24, true, true, kBlock, kResident, kResident},    // 15.9 + 1.3
                                           DeviceCase{"b13_fp8_16", 16, true, true, kStage, kStage, kStage}),         // 14.3 of 16.2
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Placement, BlocksThatTakeTurnsCostTwoOfThem) {
  const auto plan = plan_placement(large_on_device(8 * kGiB));
  // 2 of 48 blocks and what is around them: 2 * (13.04e9 - 12.9e9 + 12.9e9 * 2 / 48).
  EXPECT_NEAR(static_cast<double>(plan.weight_bytes[1]), 2 * (0.14e9 + 12.9e9 / 24), 1e6);
  EXPECT_TRUE(plan.pin_transformer);  // 26 GB of the machine's 64 GiB
  auto in = large_on_device(8 * kGiB);
  in.memory_budget_bytes = 32 * kGiB;
  EXPECT_FALSE(plan_placement(in).pin_transformer);
}

TEST(Placement, LongClipsAreDecodedInPiecesWhereMemoryIsShort) {
  auto in = on_device(80 * kGiB);
  in.latent = {16, 16, 24};  // 121 frames of 512 x 768: 47.6e6 pixels, a widest volume of 380e6 elements
  const int64_t widest = 128 * 121 * 128 * 192;
  EXPECT_GT(plan_placement(in).vae_volume_elements, widest);
  in.device_memory_bytes = 8 * kGiB;
  EXPECT_LT(plan_placement(in).vae_volume_elements, widest);
  // Eight times as long, and it still fits: what grows with the clip is in the host's memory.
  in.latent.frames = 121;
  EXPECT_LE(plan_placement(in).stage_bytes[3], plan_placement(in).budget_bytes);
}

TEST(Placement, WhatDoesNotFitAnywhereIsPredicted) {
  auto in = large_on_device(2 * kGiB);
  in.latent = {33, 34, 60};
  const auto plan = plan_placement(in);
  EXPECT_GT(plan.peak_bytes, plan.budget_bytes);
}

TEST(Placement, OnADeviceSmallModelsStayF32AndGraphsNeedResidentBlocks) {
  auto in = on_device(24 * kGiB);
  in.parameter_counts = {1000, 1000, 1000, 1000};
  EXPECT_EQ(plan_placement(in).type(Component::transformer), ComputeType::f32);
  in = on_device(24 * kGiB);
  EXPECT_FALSE(plan_placement(in).cuda_graphs);
  in.cuda_graphs = true;
  EXPECT_TRUE(plan_placement(in).cuda_graphs);
  in = large_on_device(24 * kGiB);
  in.cuda_graphs = true;
  EXPECT_FALSE(plan_placement(in).cuda_graphs);
}

TEST(Placement, DeviceWords) {
  EXPECT_EQ(parse_device("auto").kind, DeviceWord::Kind::automatic);
  EXPECT_EQ(parse_device("cpu").kind, DeviceWord::Kind::cpu);
  EXPECT_EQ(parse_device("cuda").kind, DeviceWord::Kind::cuda);
  EXPECT_EQ(parse_device("cuda").index, 0);
  EXPECT_EQ(parse_device("cuda:12").index, 12);
  for (const std::string wrong : {"cuda:", "cuda:-1", "cuda:1x", "cuda:99999", "CUDA", "cuda0", "gpu", "cuda: 1"})
    expect_error(ErrorCode::invalid_argument, "device \"" + wrong + "\" is not one of auto, cpu, cuda, cuda:<index>", [&] { parse_device(wrong); });
}

TEST(Placement, SeveralDevicesAreAListOfOneKind) {
  EXPECT_EQ(parse_devices("auto"), std::vector<std::string>{"auto"});
  EXPECT_EQ(parse_devices(""), std::vector<std::string>{""});
  EXPECT_EQ(parse_devices("cuda:1,cuda:0"), (std::vector<std::string>{"cuda:1", "cuda:0"}));
  EXPECT_EQ(parse_devices("cpu,cpu,cpu").size(), 3u);
  std::string too_many = "cpu";
  for (int i = 0; i < 64; ++i) too_many += ",cpu";
  for (const auto& [words, problem] : std::map<std::string, std::string>{
           {"cpu,cuda", "mixes the CPU with CUDA devices"},
           {"cuda,cuda:0", "names cuda:0 twice"},
           {"cuda:0,auto", "each is cpu, cuda or cuda:<index>, not \"auto\""},
           {"cuda:0,", "not \"\""},
           {",", "not \"\""},
           {"cuda:0, cuda:1", "device \" cuda:1\" is not one of"},
           {too_many, "names 65 devices, at most 64"}})
    expect_error(ErrorCode::invalid_argument, problem, [&] { parse_devices(words); });
}

TEST(Placement, SeveralDevicesShareTheActivationsOfAPrediction) {
  auto in = on_device(24 * kGiB);
  const auto one = plan_placement(in);
  in.rank_count = 4;
  const auto four = plan_placement(in);
  const auto tokens = static_cast<double>(in.latent.token_count());
  EXPECT_NEAR(static_cast<double>(one.denoise_activation_bytes) / static_cast<double>(four.denoise_activation_bytes), 4, 4 * 4 / tokens);
  EXPECT_EQ(one.weight_bytes, four.weight_bytes);
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
