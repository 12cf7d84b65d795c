// Inpainting, outpainting and continuing through the engine.
#include "pipeline/engine_fixture.h"

namespace ltxv {
namespace {

using test::expect_error;

class EngineMask : public ::testing::Test {
 protected:
  // A clip of 17 frames 64x96 and a mask whose right half (from column 64: latent column 2) is white.
  EngineMask() {
    clip_ = at::rand({1, 3, 17, 64, 96}) * 2 - 1;
    save("clip", {{"frames", clip_}});
    mask_ = at::zeros({1, 1, 17, 64, 96});
    mask_.narrow(4, 64, 32).fill_(1);
    save("mask", {{"mask", mask_}});
  }
  void save(const std::string& name, const std::map<std::string, at::Tensor>& tensors) { save_tensors(path(name), tensors); }
  std::string path(const std::string& name) const { return folder_ / (name + ".safetensors"); }
  Request request() const {
    auto r = test::small_request(17, 2);
    r.image_noise_scale.reset();
    r.input_video_path = path("clip");
    r.mask_path = path("mask");
    return r;
  }
  void refused(const std::string& what, const std::function<void(Request&)>& change, ErrorCode code = ErrorCode::invalid_argument) {
    auto r = request();
    change(r);
    expect_error(code, what, [&] { engine_->generate(r); });
  }

  std::shared_ptr<Engine> engine_ = test::open_tiny();
  test::TempFolder folder_;
  at::Tensor clip_, mask_;
};

TEST_F(EngineMask, BlackPartsAreTheVideosOwnLatents) {
  const auto encoded = engine_->encode(clip_);
  const auto result = engine_->generate(request());
  EXPECT_TRUE(at::equal(result.latents.narrow(4, 0, 2), encoded.narrow(4, 0, 2)));
  EXPECT_GT(test::error_over_deviation(result.latents.narrow(4, 2, 1), encoded.narrow(4, 2, 1)), 0.5);
  // The preset's noise on kept images would stay in the result.
  EXPECT_EQ(*result.resolved.request.image_noise_scale, 0);
}

TEST_F(EngineMask, AnImageIsAMaskForAllFramesAndSizesAreFitted) {
  const auto whole = engine_->generate(request()).latents;
  save("still", {{"mask", mask_.narrow(2, 0, 1)}});
  auto r = request();
  r.mask_path = path("still");
  EXPECT_TRUE(at::equal(engine_->generate(r).latents, whole));
  // Half the size in grey pictures: the border falls on the same column.
  const auto small = mask_.slice(3, 0, 64, 2).slice(4, 0, 96, 2);
  save("small", {{"frames", (small * 2 - 1).expand({1, 3, 17, 32, 48}).contiguous()}});
  r.mask_path = path("small");
  // Bilinear resizing greys one column beside the border, which opens its cell a little.
  const auto latents = engine_->generate(r).latents;
  EXPECT_TRUE(at::equal(latents.narrow(4, 0, 1), whole.narrow(4, 0, 1)));
}

TEST_F(EngineMask, LevelsNearBlackAndWhiteAreBlackAndWhite) {
  const auto whole = engine_->generate(request()).latents;
  save("noisy", {{"mask", mask_ * 0.92 + 0.04}});  // 0.04 and 0.96: what lossy formats leave
  auto r = request();
  r.mask_path = path("noisy");
  EXPECT_TRUE(at::equal(engine_->generate(r).latents, whole));
}

TEST_F(EngineMask, CompositeCopiesPixels) {
  auto r = request();
  const auto plain = engine_->generate(r).frames;
  r.composite = true;
  const auto frames = engine_->generate(r).frames;
  EXPECT_TRUE(at::equal(frames.narrow(4, 0, 64), clip_.narrow(4, 0, 64)));
  EXPECT_TRUE(at::equal(frames.narrow(4, 64, 32), plain.narrow(4, 64, 32)));
}

TEST_F(EngineMask, BlendLetsTheCellsBesideItChange) {
  const auto encoded = engine_->encode(clip_);
  auto r = request();
  r.mask_blend = 1;
  r.sigmas = {1.0, 0.4};  // the schedule comes below the half-kept cells' 0.5
  r.step_count = 0;
  const auto latents = engine_->generate(r).latents;
  EXPECT_TRUE(at::equal(latents.narrow(4, 0, 1), encoded.narrow(4, 0, 1)));
  EXPECT_FALSE(at::equal(latents.narrow(4, 1, 1), encoded.narrow(4, 1, 1)));
}

TEST_F(EngineMask, ARunOnPartOfTheScheduleMasksToo) {
  auto r = request();
  r.step_count = 4;
  r.strength = 0.5;
  const auto result = engine_->generate(r);
  EXPECT_EQ(result.resolved.sigmas.size(), 2u);
  EXPECT_TRUE(at::equal(result.latents.narrow(4, 0, 2), engine_->encode(clip_).narrow(4, 0, 2)));
}

TEST_F(EngineMask, OutpaintKeepsWhatTheClipCovers) {
  save("narrow", {{"frames", clip_.narrow(2, 0, 9).narrow(4, 0, 32)}});  // 9 frames 64x32: columns 32 to 63 of 96
  auto r = request();
  r.mask_path = "";
  r.input_video_path = path("narrow");
  r.outpaint = true;
  r.composite = true;
  const auto result = engine_->generate(r);
  EXPECT_TRUE(at::equal(result.frames.narrow(2, 0, 9).narrow(4, 32, 32), clip_.narrow(2, 0, 9).narrow(4, 0, 32)));
  // The kept cells hold the encoded clip with its border repeated outwards.
  const auto column = [&](int64_t c) { return clip_.narrow(4, c, 1).expand({1, 3, 17, 64, 32}); };
  auto wide = at::cat({column(0), clip_.narrow(4, 0, 32), column(31)}, 4);
  wide = at::cat({wide.narrow(2, 0, 9), wide.narrow(2, 8, 1).expand({1, 3, 8, 64, 96})}, 2).contiguous();
  const auto kept = engine_->encode(wide).narrow(2, 0, 2).narrow(4, 1, 1);
  EXPECT_TRUE(at::equal(result.latents.narrow(2, 0, 2).narrow(4, 1, 1), kept));
}

TEST_F(EngineMask, LengthsOffTheGridRepeatTheLastFrame) {
  save("clip", {{"frames", clip_.narrow(2, 0, 12)}});
  auto r = request();
  r.frame_count = 12;
  const auto result = engine_->generate(r);
  EXPECT_EQ(result.frames.size(2), 12);
  const auto filled = at::cat({clip_.narrow(2, 0, 12), clip_.narrow(2, 11, 1).expand({1, 3, 5, 64, 96})}, 2).contiguous();
  EXPECT_TRUE(at::equal(result.latents.narrow(4, 0, 2), engine_->encode(filled).narrow(4, 0, 2)));
}

TEST_F(EngineMask, SizesOffTheGridMaskTheSamePixels) {
  auto r = request();
  r.width = 90, r.height = 50;
  const auto result = engine_->generate(r);
  EXPECT_EQ(result.frames.sizes(), at::IntArrayRef({1, 3, 17, 50, 90}));
  // 96x64 to the aspect of 90x50 loses rows only; the border at 64 of 96 is at 60 of 90, and 3 columns of padding make it 63.
  EXPECT_TRUE(at::isfinite(result.frames).all().item<bool>());
}

TEST_F(EngineMask, AClipAtTheEndIsExtendedBackwards) {
  // 17 frames at frame 16 of 33: two latents in front, the third in place as latent 16 / 8 + 2 = 4, the last.
  auto r = test::small_request(33, 2);
  r.conditions = {{path("clip"), 16, 1.0}};
  const auto encoded = engine_->encode(clip_);
  const auto latents = engine_->generate(r).latents;
  EXPECT_TRUE(at::equal(latents.narrow(2, 4, 1), encoded.narrow(2, 2, 1)));
  EXPECT_FALSE(at::equal(latents.narrow(2, 3, 1), encoded.narrow(2, 1, 1)));
}

TEST_F(EngineMask, SeveralClipsHoldAtOnce) {
  save("first", {{"frames", clip_.narrow(2, 0, 9)}});
  auto r = test::small_request(49, 2);
  r.conditions = {{path("first"), 0, 1.0}, {path("clip"), 32, 1.0}, {path("first"), 16, 0.5}};
  const auto latents = engine_->generate(r).latents;
  EXPECT_TRUE(at::equal(latents.narrow(2, 0, 2), engine_->encode(clip_.narrow(2, 0, 9).contiguous())));
  EXPECT_TRUE(at::equal(latents.narrow(2, 6, 1), engine_->encode(clip_).narrow(2, 2, 1)));  // 32 / 8 + 2
}

TEST_F(EngineMask, WhatCannotBeIsOneClearLine) {
  refused("needs an input video", [](Request& r) { r.input_video_path = ""; });
  refused("exclude each other", [](Request& r) { r.outpaint = true; });
  refused("mask-blend", [](Request& r) { r.mask_blend = 65; });
  refused("mask-blend needs a mask", [](Request& r) { r.mask_path = "", r.mask_blend = 1; });
  refused("composite needs a mask", [](Request& r) { r.mask_path = "", r.composite = true; });
  refused("outpaint needs an input video", [](Request& r) { r.input_video_path = r.mask_path = "", r.outpaint = true; });
  refused("nothing is left to outpaint", [](Request& r) { r.mask_path = "", r.outpaint = true; });
  refused("17 usable frames, this run needs 25", [](Request& r) { r.frame_count = 25, r.mask_path = ""; });
  refused("no-such-file", [](Request& r) { r.mask_path = "no-such-file.png"; }, ErrorCode::io);
  save("mask", {{"mask", mask_.narrow(2, 0, 9)}});
  refused("mask has 9 frames, this run needs 1 or 17", [](Request&) {});
  save("mask", {{"mask", at::zeros({1, 1, 17, 64, 96})}});
  refused("black everywhere", [](Request&) {});
  save("mask", {{"mask", at::full({1, 1, 17, 64, 96}, 2.0)}});
  refused("leaves [0,1]", [](Request&) {});
  save("mask", {{"mask", at::zeros({17, 64, 96})}});
  refused("expected [1,1,T,H,W]", [](Request&) {}, ErrorCode::bad_weights);
  save("mask", {{"other", mask_}});
  refused("\"frames\" is missing", [](Request&) {}, ErrorCode::bad_weights);
  save("mask", {{"mask", mask_}});
  save("clip", {{"latents", engine_->encode(clip_)}});
  refused("composite needs an input video with pixels", [](Request& r) { r.composite = true; });
  EXPECT_NO_THROW(engine_->generate(request()));  // latents can be masked, and the engine is as good as before
}

}  // namespace
}  // namespace ltxv
