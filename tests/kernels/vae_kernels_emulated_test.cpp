// Bodies of the VAE's kernels in the emulator, against their definitions in f64.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/emulator/emulated_thread.h"
#include "kernels/emulator/values.h"
#include "conv3d/add_bias_rows.h"
#include "vae_norm/depth_to_space_rows.h"
#include "vae_norm/vae_norm_rows.h"

namespace ltxv {
namespace {

using namespace ops::gpu;
using test::EmulatedThread;
using test::kTypes;
using test::Machine;
using test::tolerance;
using test::Values;

struct NormCase {
  int32_t batch, channels, frames, positions, front, back;
  bool modulated;
};

template <Element kType, int32_t kLanes, int32_t kEights>
std::string run_norm(Machine& machine, const VaeNormLaunch& launch) {
  const test::Grid grid{static_cast<int32_t>(ceil_div(launch.positions, kVaeNormThreads / kLanes)), launch.batch * launch.frames};
  return machine.run(grid, kVaeNormThreads, 0,
                     [&](EmulatedThread& thread) { VaeNorm<kType, kLanes, kEights, EmulatedThread>{thread, launch}.run(); });
}

template <Element kType>
std::string run_norm(Machine& machine, const VaeNormLaunch& launch) {
  const VaeNormPlan plan = vae_norm_plan(launch.channels);
  if (plan.lanes == 16) return run_norm<kType, 16, 1>(machine, launch);
  if (plan.eights == 1) return run_norm<kType, 32, 1>(machine, launch);
  if (plan.eights == 2) return run_norm<kType, 32, 2>(machine, launch);
  if (plan.eights == 4) return run_norm<kType, 32, 4>(machine, launch);
  return run_norm<kType, 32, 8>(machine, launch);
}

void check_norm(const NormCase& c, Element type, uint32_t seed) {
  std::mt19937 random(seed);
  const auto channels = static_cast<size_t>(c.channels), positions = static_cast<size_t>(c.positions);
  const auto padded = static_cast<size_t>(c.front + c.frames + c.back), batch = static_cast<size_t>(c.batch);
  Values x(type, batch * static_cast<size_t>(c.frames) * positions * channels), out(type, batch * padded * positions * channels);
  Values scale(Element::f32, batch * channels), shift(Element::f32, batch * channels);
  x.fill(random), scale.fill(random), shift.fill(random);
  VaeNormLaunch launch{type, x.data(), out.data()};
  if (c.modulated) launch.scale = scale.floats(), launch.shift = shift.floats();
  launch.batch = c.batch, launch.frames = c.frames, launch.channels = c.channels, launch.positions = c.positions;
  launch.front = c.front, launch.back = c.back, launch.eps = 1e-8f;
  Machine machine(seed);
  for (auto* values : {&x, &scale, &shift}) machine.readable(values->data(), values->bytes());
  machine.writable(out.data(), out.bytes());
  ASSERT_EQ(type == Element::f32 ? run_norm<Element::f32>(machine, launch) : run_norm<Element::bf16>(machine, launch), "");
  double worst = 0;
  for (size_t b = 0; b < batch; ++b)
    for (size_t frame = 0; frame < padded; ++frame)
      for (size_t p = 0; p < positions; ++p) {
        const int32_t source = std::clamp(static_cast<int32_t>(frame) - c.front, 0, c.frames - 1);
        const size_t from = ((b * static_cast<size_t>(c.frames) + static_cast<size_t>(source)) * positions + p) * channels;
        double squares = 0;
        for (size_t i = 0; i < channels; ++i) squares += std::pow(x.at(from + i), 2);
        for (size_t i = 0; i < channels; ++i) {
          double y = x.at(from + i) / std::sqrt(squares / c.channels + 1e-8);
          if (c.modulated) y = y * (1 + scale.at(b * channels + i)) + shift.at(b * channels + i);
          worst = std::max(worst, std::abs(out.at(((b * padded + frame) * positions + p) * channels + i) - y / (1 + std::exp(-y))));
        }
      }
  EXPECT_LE(worst, tolerance(type)) << c.channels;
}

template <Element kType>
std::string run_add_bias(Machine& machine, const AddBiasLaunch& launch) {
  const test::Grid grid{static_cast<int32_t>(ceil_div(launch.count, kAddBiasThreads * 8)), 1};
  return machine.run(grid, kAddBiasThreads, 0, [&](EmulatedThread& thread) { AddBias<kType, EmulatedThread>{thread, launch}.run(); });
}

TEST(VaeKernelsEmulated, BiasAndResidualAreAddedOnce) {
  for (const Element type : kTypes)
    for (const auto& [positions, channels] : {std::pair<size_t, size_t>{1, 8}, {37, 24}, {9, 256}, {3, 1032}})
      for (const bool with_residual : {false, true}) {
        std::mt19937 random(7);
        Values y(type, positions * channels), bias(type, channels), residual(type, positions * channels);
        y.fill(random), bias.fill(random), residual.fill(random);
        std::vector<double> expected;
        for (size_t i = 0; i < positions * channels; ++i) expected.push_back(y.at(i) + bias.at(i % channels) + (with_residual ? residual.at(i) : 0));
        AddBiasLaunch launch{type, y.data(), bias.data(), with_residual ? residual.data() : nullptr};
        launch.count = static_cast<int64_t>(positions * channels), launch.channels = static_cast<int32_t>(channels);
        Machine machine(11);
        machine.readable(bias.data(), bias.bytes());
        if (with_residual) machine.readable(residual.data(), residual.bytes());
        machine.writable(y.data(), y.bytes());
        ASSERT_EQ(type == Element::f32 ? run_add_bias<Element::f32>(machine, launch) : run_add_bias<Element::bf16>(machine, launch), "");
        double worst = 0;
        for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(y.at(i) - expected[i]));
        EXPECT_LE(worst, tolerance(type)) << positions << " " << channels;
      }
}

TEST(VaeKernelsEmulated, NormModulationSiluAndPadding) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 0;
  for (const auto type : kTypes)
    for (const NormCase& c : {NormCase{1, 8, 1, 1, 0, 0, false}, {2, 16, 3, 11, 2, 1, true}, {1, 128, 2, 9, 1, 1, true}, {1, 136, 2, 5, 0, 2, false},
                              {2, 256, 1, 6, 2, 0, true}, {1, 512, 2, 3, 1, 1, true}, {1, 520, 1, 3, 0, 1, false}, {1, 1024, 1, 2, 1, 0, true},
                              {1, 2048, 1, 1, 0, 0, true}})
      check_norm(c, type, ++seed);
}

struct UnfoldCase {
  int32_t batch, channels, residual_channels, frames, height, width, st, sh, sw, dropped;
};

template <Element kType, int32_t kSubpositions>
std::string run_unfold(Machine& machine, const DepthToSpaceLaunch& launch) {
  const int32_t per_block = positions_per_block(launch.channels, launch.residual_channels, kSubpositions);
  const int64_t positions = static_cast<int64_t>(launch.batch) * launch.frames * launch.height * launch.width;
  return machine.run({static_cast<int32_t>(ceil_div(positions, per_block))}, kDepthToSpaceThreads,
                     depth_to_space_shared(launch, kSubpositions, per_block), [&](EmulatedThread& thread) {
                       DepthToSpace<kType, kSubpositions, EmulatedThread>{thread, launch, per_block}.run();
                     });
}

template <Element kType>
std::string run_unfold(Machine& machine, const DepthToSpaceLaunch& launch) {
  const int32_t subpositions = launch.st * launch.sh * launch.sw;
  if (subpositions == 1) return run_unfold<kType, 1>(machine, launch);
  if (subpositions == 2) return run_unfold<kType, 2>(machine, launch);
  return subpositions == 4 ? run_unfold<kType, 4>(machine, launch) : run_unfold<kType, 8>(machine, launch);
}

void check_unfold(const UnfoldCase& c, Element type, uint32_t seed) {
  std::mt19937 random(seed);
  const int32_t subpositions = c.st * c.sh * c.sw, out_frames = c.frames * c.st - c.dropped;
  const auto count = [](auto... sizes) { return (static_cast<size_t>(sizes) * ...); };
  const size_t positions = count(c.batch, c.frames, c.height, c.width);
  Values y(type, positions * count(c.channels, subpositions));
  Values residual(type, positions * count(c.residual_channels, subpositions));
  Values out(type, count(c.batch, out_frames, c.height * c.sh, c.width * c.sw, c.channels));
  y.fill(random), residual.fill(random);
  DepthToSpaceLaunch launch{type, y.data(), c.residual_channels ? residual.data() : nullptr, out.data()};
  launch.batch = c.batch, launch.frames = c.frames, launch.height = c.height, launch.width = c.width;
  launch.channels = c.channels, launch.residual_channels = c.residual_channels;
  launch.st = c.st, launch.sh = c.sh, launch.sw = c.sw, launch.dropped = c.dropped;
  Machine machine(seed);
  machine.readable(y.data(), y.bytes()), machine.readable(residual.data(), residual.bytes());
  machine.writable(out.data(), out.bytes());
  ASSERT_EQ(type == Element::f32 ? run_unfold<Element::f32>(machine, launch) : run_unfold<Element::bf16>(machine, launch), "");
  double worst = 0;
  size_t at = 0;
  for (int32_t b = 0; b < c.batch; ++b)
    for (int32_t t = c.dropped; t < c.frames * c.st; ++t)
      for (int32_t h = 0; h < c.height * c.sh; ++h)
        for (int32_t w = 0; w < c.width * c.sw; ++w)
          for (int32_t channel = 0; channel < c.channels; ++channel, ++at) {
            // out[c, t*st+i, h*sh+j, w*sw+k] = y[((c*st+i)*sh+j)*sw+k, t, h, w], stored channels last
            const size_t position = ((count(b, c.frames) + static_cast<size_t>(t / c.st)) * static_cast<size_t>(c.height) +
                                     static_cast<size_t>(h / c.sh)) * static_cast<size_t>(c.width) + static_cast<size_t>(w / c.sw);
            const auto element = [&](int32_t of, int32_t channels) {
              return position * count(channels, subpositions) +
                     static_cast<size_t>(((of * c.st + t % c.st) * c.sh + h % c.sh) * c.sw + w % c.sw);
            };
            double expected = y.at(element(channel, c.channels));
            if (c.residual_channels) expected += residual.at(element(channel % c.residual_channels, c.residual_channels));
            worst = std::max(worst, std::abs(out.at(at) - expected));
          }
  EXPECT_LE(worst, c.residual_channels ? tolerance(type) : 0) << c.channels << " " << subpositions;
}

TEST(VaeKernelsEmulated, DepthToSpaceWithResidual) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 50;
  for (const auto type : kTypes)
    for (const UnfoldCase& c : {UnfoldCase{1, 8, 0, 1, 1, 1, 2, 2, 2, 1}, {2, 16, 8, 2, 3, 5, 2, 2, 2, 1}, {1, 24, 24, 2, 2, 3, 1, 2, 2, 0},
                                {1, 64, 32, 3, 2, 2, 2, 1, 1, 0}, {1, 16, 16, 2, 3, 3, 1, 1, 1, 0}, {1, 512, 128, 1, 1, 3, 2, 2, 2, 1},
                                {1, 1024, 0, 1, 1, 2, 2, 2, 2, 0}})
      check_unfold(c, type, ++seed);
}

}  // namespace
}  // namespace ltxv
