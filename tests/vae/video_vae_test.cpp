// The whole VAE against diffusers, on small models of every generation, from both layouts of the weights, on both paths.
#include "vae/video_vae.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/expect_error.h"
#include "support/golden.h"
#include "vae/made_vae.h"
#include "vae/time_carry.h"
#include "vae/vae_config_json.h"

namespace ltxv {
namespace {

using test::made;
using test::MadeVae;

VideoVae open(const MadeVae& m, VaePath path, at::ScalarType dtype = at::kFloat, VaeParts parts = VaeParts::both) {
  const auto [config, names] = vae_config_from_diffusers(m.info["diffusers"], "config.json", parts);
  Parameters parameters(open_component_folder(m.folder()), names, dtype, "vae");
  return VideoVae(config, parameters, parts, path);
}

VideoVae open_original(const MadeVae& m, VaeParts parts = VaeParts::both) {
  const VaeConfig config = vae_config_from_original(m.info["original"], "single.safetensors");
  Parameters parameters(open_tensors(m.single_file()), original_vae_names(parts), at::kFloat, "vae");
  return VideoVae(config, parameters, parts);
}

at::Tensor pixels(const MadeVae& m) { return made("pixels", {m.golden["encoded"].size(0), 3, 9, 64, 32}, 1); }
at::Tensor latents(const MadeVae& m) { return made("latents", m.golden["encoded"].sizes().vec(), 2); }

DecodeOptions made_noise(size_t& draws) {
  DecodeOptions options;
  options.injected_noise = [&draws](int64_t height, int64_t width) {
    const std::string digits = std::to_string(draws++);
    return made("decoder_" + std::string(2 - digits.size(), '0') + digits, {height, width}, 1);
  };
  return options;
}

at::Tensor encode(const VideoVae& vae, const MadeVae& m) {
  RunContext run;
  return vae.encode(pixels(m), run);
}
at::Tensor decode(const VideoVae& vae, const MadeVae& m) {
  RunContext run;
  size_t draws = 0;
  at::Tensor out = vae.decode(latents(m), made_noise(draws), run);
  EXPECT_EQ(draws, m.info["injected_noise"].size());
  return out;
}
at::Tensor thirds(const at::Tensor& x) { return x.slice(3, 0, x.size(3), 3).slice(4, 0, x.size(4), 3); }

// The same arithmetic in another order; measured 1e-6 and below, a wrong axis or constant gives 1e-2 and more.
constexpr double kTolerance = 2e-5;

class VideoVaeCase : public ::testing::TestWithParam<const char*> {
 protected:
  const c10::InferenceMode inference_;
  const MadeVae m_{GetParam()};
};

TEST_P(VideoVaeCase, EncodesAndDecodesAsDiffusersOnBothPaths) {
  for (const VaePath path : {VaePath::plain, VaePath::fast}) {
    const VideoVae vae = open(m_, path);
    EXPECT_MATCHES(encode(vae, m_), m_.golden["encoded"], kTolerance);
    EXPECT_MATCHES(thirds(decode(vae, m_)), m_.golden["decoded_thirds"], kTolerance);
  }
}

class OriginalLayout : public VideoVaeCase {};

TEST_P(OriginalLayout, GivesTheSameModel) {
  EXPECT_EQ(vae_config_from_original(m_.info["original"], "a"), vae_config_from_diffusers(m_.info["diffusers"], "b").config);
  const VideoVae vae = open_original(m_);
  EXPECT_MATCHES(encode(vae, m_), m_.golden["encoded"], kTolerance);
  EXPECT_MATCHES(thirds(decode(vae, m_)), m_.golden["decoded_thirds"], kTolerance);
}

TEST_P(VideoVaeCase, StaysWithinTheNoiseOfBf16) {
  const VideoVae vae = open(m_, VaePath::fast, at::kBFloat16);
  // The reference itself is at 0.012-0.016 from f32 in bf16, and changes with the seed.
  constexpr double kNoiseFloor = 0.025;
  EXPECT_LE(test::relative_rms(encode(vae, m_), m_.golden["encoded"]), kNoiseFloor);
  EXPECT_LE(test::relative_rms(thirds(decode(vae, m_)), m_.golden["decoded_thirds"]), kNoiseFloor);
}

TEST_P(VideoVaeCase, PiecesOfTimeGiveTheSameFrames) {
  const at::Tensor z = made("longer", {m_.golden["encoded"].size(0), 16, 12, 1, 1}, 2);
  RunContext run;
  for (const VaePath path : {VaePath::plain, VaePath::fast}) {
    const VideoVae vae = open(m_, path);
    const auto decode = [&](int64_t largest_volume) {
      size_t draws = 0;
      DecodeOptions options = made_noise(draws);
      options.largest_volume = largest_volume;
      const at::Tensor frames = vae.decode(z, options, run);
      EXPECT_EQ(draws, m_.info["injected_noise"].size()) << largest_volume;
      return frames;
    };
    const at::Tensor whole = decode(int64_t{1} << 60);
    for (const int64_t largest_volume : {1 << 16, 1 << 13, 1}) {  // from the last blocks alone to all of them
      SCOPED_TRACE(largest_volume);
      EXPECT_MATCHES(decode(largest_volume), whole, 1e-5);
    }
  }
}

TEST_P(VideoVaeCase, AClipEncodedInPiecesGivesTheSameLatents) {
  const at::Tensor clip = made("clip", {m_.golden["encoded"].size(0), 3, 57, 64, 32}, 1);  // 8 latent frames
  RunContext run;
  for (const VaePath path : {VaePath::plain, VaePath::fast}) {
    const VideoVae vae = open(m_, path);
    if (!vae.config().encoder_causal) GTEST_SKIP() << "this encoder looks ahead";
    const at::Tensor whole = vae.encode(clip, run, int64_t{1} << 60);
    for (const auto& pieces : {std::vector<int64_t>{1, 1, 1, 1, 1, 1, 1, 1}, {3, 2, 3}, {1, 7}, {7, 1}}) {
      EncodeCarry carry;
      std::vector<at::Tensor> parts;
      int64_t frame = 0;
      for (const int64_t count : pieces) {
        const int64_t frames = 8 * count - (frame == 0 ? 7 : 0);
        parts.push_back(vae.encode_next(clip.narrow(2, frame, frames).contiguous(), carry, run));
        EXPECT_EQ(parts.back().size(2), count);
        frame += frames;
      }
      EXPECT_MATCHES(at::cat(parts, 2), whole, 1e-5);
    }
    // By itself where volumes are large, also within the pieces it is given.
    for (const int64_t largest_volume : {1 << 16, 1}) {
      EXPECT_MATCHES(vae.encode(clip, run, largest_volume), whole, 1e-5);
      EncodeCarry carry;
      const auto first = vae.encode_next(clip.narrow(2, 0, 17).contiguous(), carry, run, largest_volume);
      EXPECT_MATCHES(at::cat({first, vae.encode_next(clip.narrow(2, 17, 40).contiguous(), carry, run, largest_volume)}, 2), whole, 1e-5);
    }
  }
}

TEST_P(VideoVaeCase, OpensEitherHalfAlone) {
  const VideoVae encoder = open(m_, VaePath::fast, at::kFloat, VaeParts::encoder);
  const VideoVae decoder = open(m_, VaePath::fast, at::kFloat, VaeParts::decoder);
  EXPECT_MATCHES(encode(encoder, m_), m_.golden["encoded"], kTolerance);
  EXPECT_MATCHES(thirds(decode(decoder, m_)), m_.golden["decoded_thirds"], kTolerance);
  RunContext run;
  test::expect_error(ErrorCode::invalid_argument, "without its decoder", [&] { encoder.decode(latents(m_), {}, run); });
  test::expect_error(ErrorCode::invalid_argument, "without its encoder", [&] { decoder.encode(pixels(m_), run); });
  if (m_.has_original()) open_original(m_, VaeParts::encoder), open_original(m_, VaeParts::decoder);
}

TEST_P(VideoVaeCase, NamesTheInjectedNoiseInOrder) {
  const VideoVae vae = open(m_, VaePath::fast);
  nlohmann::json shapes = nlohmann::json::array();
  for (const auto& s : vae.injected_noise_shapes(2, 1)) shapes.push_back({s[0], s[1]});
  EXPECT_EQ(shapes, m_.info["injected_noise"]);
}

// The fourth exists in the diffusers layout only.
INSTANTIATE_TEST_SUITE_P(Generations, OriginalLayout, ::testing::Values("strided", "noisy", "folded"),
                         [](const auto& info) { return std::string(info.param); });
INSTANTIATE_TEST_SUITE_P(Generations, VideoVaeCase, ::testing::Values("strided", "noisy", "folded", "uneven"),
                         [](const auto& info) { return std::string(info.param); });

TEST(PiecePlan, PiecesAreAsLongAsTheirVolumesAllow) {
  // The decoder of 0.9.5 and later: 5 blocks of two convolutions at each of four widths, 8 positions unfolded in between.
  VaeConfig config;
  config.decoder_width = 1024;
  for (int64_t width : {1024, 512, 256, 128}) {
    if (width != 1024) config.decoder_blocks.push_back({.kind = "compress_all", .in_channels = 2 * width, .out_channels = width, .multiplier = 2});
    config.decoder_blocks.push_back({.kind = "res_x", .in_channels = width, .out_channels = width, .layer_count = 5});
  }
  // Stages: a convolution, 5, an unfolding, 5, an unfolding, 5, an unfolding, 5, a convolution.
  // 121x512x768 is 16x16x24 latents. Volumes: 6.3 million elements, 24.4, 96.0 behind the second unfolding (stage 12), 380. In front of
  // that stage one frame stands for two of 64x96x256, so 33.5 / 3.1 = 10 a piece; behind it a frame has 1.57, so 21; then 33.5 / 6.3 = 5,
  // 33.5 / 3.1 = 10, and 33.5 / 1.2 = 28 in front of the last convolution, which has 48 channels.
  const auto plan = vae::plan_pieces(config, {16, 16, 24}, 32 << 20);
  EXPECT_EQ(plan.from, 12u);
  EXPECT_EQ(plan.frame_counts, (std::vector<int64_t>{10, 21, 21, 21, 21, 21, 5, 10, 10, 10, 10, 10, 28}));
  // 25x256x256: everything is smaller, so nothing is cut.
  EXPECT_EQ(vae::plan_pieces(config, {4, 8, 8}, 32 << 20).from, 25u);
  EXPECT_TRUE(vae::plan_pieces(config, {4, 8, 8}, 32 << 20).frame_counts.empty());
  // Of long clips also the first convolution's volume is cut; where two frames are too large there are two all the same.
  const auto long_plan = vae::plan_pieces(config, {121, 68, 120}, 32 << 20);
  EXPECT_EQ(long_plan.from, 0u);
  EXPECT_EQ(long_plan.frame_counts.front(), 4);
  EXPECT_EQ(long_plan.frame_counts.back(), 2);
}

class VideoVaeTest : public ::testing::Test {
 protected:
  const c10::InferenceMode inference_;
  const MadeVae m_{"noisy"};
  const VideoVae vae_ = open(m_, VaePath::fast);
  RunContext run_;
};

TEST_F(VideoVaeTest, NoNoiseMeansZeroNoise) {
  DecodeOptions zeros;
  zeros.injected_noise = [](int64_t h, int64_t w) { return at::zeros({h, w}); };
  const auto silent = vae_.decode(latents(m_), {}, run_);
  EXPECT_MATCHES(vae_.decode(latents(m_), zeros, run_), silent, 1e-6);
  EXPECT_GT(test::error_over_deviation(decode(vae_, m_), silent), 1e-2);  // and noise is not ignored
}

TEST_F(VideoVaeTest, TheTimestepMatters) {
  DecodeOptions later;
  later.timestep = 0.5;
  EXPECT_GT(test::error_over_deviation(vae_.decode(latents(m_), later, run_), vae_.decode(latents(m_), {}, run_)), 1e-2);
}

TEST_F(VideoVaeTest, NormalisingUndoesDenormalising) {
  const auto z = latents(m_);
  EXPECT_MATCHES(vae_.normalise(vae_.denormalise(z)), z, 1e-6);
  // (raw - mean) / std of the first channel, by hand.
  const float mean = made("latents_mean", {16}, 0.25f)[0].item<float>(), std = made("latents_std", {16}, 0.25f, 1)[0].item<float>();
  EXPECT_FLOAT_EQ(vae_.denormalise(z)[0][0][0][0][0].item<float>(), z[0][0][0][0][0].item<float>() * std + mean);
  EXPECT_MATCHES(vae_.decode_raw(vae_.denormalise(z), {}, run_), vae_.decode(z, {}, run_), 1e-6);
}

TEST_F(VideoVaeTest, ABatchIsItsSamples) {
  const auto two = at::cat({latents(m_), latents(m_).flip(1)});
  const auto both = vae_.decode(two, {}, run_);
  EXPECT_MATCHES(both.narrow(0, 1, 1), vae_.decode(two.narrow(0, 1, 1), {}, run_), 1e-5);
}

TEST_F(VideoVaeTest, LeavesItsInputsAlone) {
  const auto z = latents(m_), p = pixels(m_);
  vae_.decode(z, {}, run_);
  vae_.encode(p, run_);
  EXPECT_TRUE(at::equal(z, latents(m_)));
  EXPECT_TRUE(at::equal(p, pixels(m_)));
}

TEST_F(VideoVaeTest, FramesHandedOnAreThoseOfTheResult) {
  const at::Tensor z = made("longer", {2, 16, 12, 1, 1}, 2);
  DecodeOptions options;
  options.largest_volume = 1 << 13;
  const at::Tensor whole = vae_.decode(z, options, run_);
  std::vector<at::Tensor> parts;
  options.take = [&](const at::Tensor& frames) { parts.push_back(frames); };
  EXPECT_FALSE(vae_.decode(z, options, run_).defined());
  EXPECT_GT(parts.size(), 2u);
  EXPECT_TRUE(at::equal(at::cat(parts, 2), whole));
}

TEST_F(VideoVaeTest, FramesThatAreNoNumbersAreNotHandedOn) {
  DecodeOptions options;
  options.take = [](const at::Tensor&) { FAIL() << "frames with NaN"; };
  test::expect_error(ErrorCode::numeric, "the decoded frames hold NaN or Inf",
                     [&] { vae_.decode(at::full_like(latents(m_), std::numeric_limits<float>::quiet_NaN()), options, run_); });
}

TEST_F(VideoVaeTest, StopsWhenCancelled) {
  auto token = std::make_shared<CancelToken>();
  RunContext run(RunHooks{.cancel = token});
  DecodeOptions options;
  size_t maps = 0;
  options.injected_noise = [&](int64_t h, int64_t w) {
    if (++maps == 3) token->trip();
    return at::zeros({h, w});
  };
  test::expect_error(ErrorCode::cancelled, "cancelled", [&] { vae_.decode(latents(m_), options, run); });
  EXPECT_LE(maps, 4u);  // the block that was running may finish
  EXPECT_MATCHES(thirds(decode(vae_, m_)), m_.golden["decoded_thirds"], kTolerance);
}

TEST_F(VideoVaeTest, RefusesWrongArguments) {
  const auto refuses = [&](const std::string& words, auto&& action) {
    test::expect_error(ErrorCode::invalid_argument, words, action);
  };
  refuses("frame count 8", [&] { vae_.encode(at::zeros({1, 3, 8, 64, 32}), run_); });
  refuses("height 48", [&] { vae_.encode(at::zeros({1, 3, 9, 48, 32}), run_); });
  refuses("[B, 3, T, H, W]", [&] { vae_.encode(at::zeros({1, 4, 9, 64, 32}), run_); });
  refuses("[B, 16, T, H, W]", [&] { vae_.decode(at::zeros({1, 8, 2, 2, 1}), {}, run_); });
  refuses("[B, 16, T, H, W]", [&] { vae_.decode(at::zeros({1, 16, 0, 2, 1}), {}, run_); });
  DecodeOptions options;
  options.timestep = 1.5;
  refuses("1.5", [&] { vae_.decode(latents(m_), options, run_); });
  options.timestep = 0.05;
  options.injected_noise = [](int64_t, int64_t) { return at::zeros({3, 3}); };
  refuses("[3, 3]", [&] { vae_.decode(latents(m_), options, run_); });
}

}  // namespace
}  // namespace ltxv
