// The bundled model does what a prompt says: whole generations, scored from the frames for colour, background and motion.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "pipeline/engine.h"

namespace ltxv {
namespace {

struct Colour {
  const char* name;
  std::array<float, 3> rgb;
};

// The palette of examples/shapes/world.py.
constexpr Colour kForegrounds[] = {{"red", {228, 38, 38}},     {"green", {40, 190, 60}},   {"blue", {50, 90, 245}},
                                   {"yellow", {250, 225, 40}}, {"orange", {250, 135, 20}}, {"purple", {150, 50, 200}},
                                   {"cyan", {40, 220, 225}},   {"pink", {250, 130, 190}},  {"white", {250, 250, 250}}};
constexpr Colour kBackgrounds[] = {{"black", {8, 8, 8}},      {"white", {245, 245, 245}}, {"gray", {128, 128, 128}}, {"navy", {18, 22, 92}},
                                   {"maroon", {96, 12, 28}}, {"teal", {12, 104, 104}},   {"beige", {228, 212, 176}}};

template <size_t kCount>
std::string nearest(const Colour (&palette)[kCount], const at::Tensor& rgb) {
  const auto v = rgb.contiguous();
  const float* c = v.const_data_ptr<float>();
  double best = 1e30;
  std::string name;
  for (const Colour& colour : palette) {
    double distance = 0;
    for (int i = 0; i < 3; ++i) distance += std::pow(c[i] - colour.rgb[i], 2.0);
    if (distance < best) best = distance, name = colour.name;
  }
  return name;
}

struct Seen {
  std::string foreground, background;
  double dx = 0, dy = 0, growth = 0;  // of the shape's centre in pixels, and of its area as a ratio, first to last frame
};

// The border is background; what differs from it by more than 60 of 441 is the shape.
Seen look(const at::Tensor& frames) {
  const auto rgb = ((frames[0].clamp(-1, 1) + 1) * 127.5).permute({1, 2, 3, 0}).contiguous();  // [T,H,W,3]
  const int64_t count = rgb.size(0), height = rgb.size(1), width = rgb.size(2);
  const auto border = at::cat({rgb.select(1, 0).flatten(0, 1), rgb.select(1, height - 1).flatten(0, 1)});
  const auto background = std::get<0>(border.median(0));
  const auto mask = ((rgb - background).pow(2).sum(-1).sqrt() > 60).to(at::kFloat);  // [T,H,W]
  const auto area = mask.sum({1, 2}).clamp_min(1);
  const auto x = (mask * at::arange(width, at::kFloat)).sum({1, 2}) / area;
  const auto y = (mask * at::arange(height, at::kFloat).unsqueeze(1)).sum({1, 2}) / area;
  // Median colour of the shape over all frames: robust against the blended edge.
  const auto inside = rgb.flatten(0, 2).index_select(0, at::nonzero(mask.flatten()).flatten());
  Seen seen;
  seen.background = nearest(kBackgrounds, background);
  seen.foreground = inside.size(0) ? nearest(kForegrounds, std::get<0>(inside.median(0))) : "nothing";
  seen.dx = (x[count - 1] - x[0]).item<double>();
  seen.dy = (y[count - 1] - y[0]).item<double>();
  seen.growth = (area[count - 1] / area[0]).item<double>();
  return seen;
}

class BundledModel : public ::testing::Test {
 protected:
  static Engine& engine() {
    static const auto engine = Engine::open({.model = std::string(LTXV_SOURCE_DIR) + "/examples/shapes/model"});
    return *engine;
  }
  static Seen generate(const std::string& prompt) {
    Request request;
    request.prompt = prompt;
    request.seed = 7;
    return look(engine().generate(request).frames);
  }
};

TEST_F(BundledModel, MovesARedCircleToTheRightOnBlack) {
  const auto seen = generate("a red circle moving right on a black background");
  EXPECT_EQ(seen.foreground, "red");
  EXPECT_EQ(seen.background, "black");
  EXPECT_GT(seen.dx, 24);  // half of the least distance of the training world, 48 px
  EXPECT_LT(std::abs(seen.dy), 16);
}

TEST_F(BundledModel, MovesABlueSquareUpOnBeige) {
  const auto seen = generate("A blue square floating up on a beige background.");
  EXPECT_EQ(seen.foreground, "blue");
  EXPECT_EQ(seen.background, "beige");
  EXPECT_LT(seen.dy, -24);
  EXPECT_LT(std::abs(seen.dx), 16);
}

TEST_F(BundledModel, GrowsAYellowHeartOnNavy) {
  const auto seen = generate("on a navy blue background, a yellow heart getting bigger");
  EXPECT_EQ(seen.foreground, "yellow");
  EXPECT_EQ(seen.background, "navy");
  EXPECT_GT(seen.growth, 2);  // the world grows radii from 0.45 to 1.3: areas by 8
}

TEST_F(BundledModel, KeepsTheFirstFrameItIsGiven) {
  // The first frame of one generation conditions another whose words agree with it.
  Request first;
  first.prompt = "a green ring staying still on a white background";
  first.seed = 3;
  const auto given = engine().generate(first).frames.narrow(2, 0, 1).clamp(-1, 1).contiguous();
  const auto path = ::testing::TempDir() + "ltxv_first_frame.png";
  write_frames(path, given, 8, "");

  Request request;
  request.prompt = "a green ring moving left on a white background";
  request.seed = 4;
  request.conditions = {{.path = path}};
  const auto frames = engine().generate(request).frames;
  const auto error = ((frames.narrow(2, 0, 1).clamp(-1, 1) - given) / 2).pow(2).mean().item<double>();
  EXPECT_GT(-10 * std::log10(error), 25);  // dB
  EXPECT_LT(look(frames).dx, -24);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace ltxv
