// The guided step in the emulator, against guidance and step written out in f64; and the number formats, value by value.
#include <gtest/gtest.h>

#include <cmath>

#include "guided_step/guided_step_rows.h"
#include "kernels/emulator/emulated_thread.h"
#include "kernels/emulator/values.h"

namespace ltxv {
namespace {

using namespace ops::gpu;
using test::EmulatedThread;
using test::kTypes;
using test::Machine;
using test::Values;

struct Case {
  int32_t tokens, width;
  bool negative, perturbed, star, per_token;
  float scale = 3, cfg_rescale = 0, stg_scale = 1, stg_rescale = 1;
};

using Doubles = std::vector<double>;

double deviation(const Doubles& x) {
  double mean = 0, squares = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  for (const double v : x) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(x.size() - 1));
}

void restore(Doubles& x, const Doubles& reference, double r) {
  const double factor = r * deviation(reference) / deviation(x) + 1 - r;
  for (double& v : x) v *= factor;
}

// The rules of src/diffusion/guidance.cpp, element by element.
Doubles expected_velocity(const Case& c, const Doubles& p, const Doubles& n, const Doubles& q) {
  Doubles v = p;
  if (c.negative) {
    double pn = 0, nn = 0;
    for (size_t i = 0; i < p.size(); ++i) pn += p[i] * n[i], nn += n[i] * n[i];
    const double projection = c.star ? pn / (nn + 1e-8) : 1;
    for (size_t i = 0; i < p.size(); ++i) v[i] = n[i] * projection + c.scale * (p[i] - n[i] * projection);
    if (c.cfg_rescale != 0) restore(v, p, c.cfg_rescale);
  }
  if (c.perturbed) {
    for (size_t i = 0; i < p.size(); ++i) v[i] += c.stg_scale * (p[i] - q[i]);
    if (c.stg_rescale != 1) restore(v, p, c.stg_rescale);
  }
  return v;
}

template <Element kType>
std::string run(Machine& machine, const GuidedStepLaunch& launch) {
  const auto blocks = static_cast<int32_t>(ceil_div(launch.token_count * launch.width, kGuidedStepThreads));
  const int32_t moment_blocks = needs_moments(launch) ? std::min(blocks, 2) : 0;  // two: threads take several elements
  if (moment_blocks > 0) {
    const auto problem = machine.run({moment_blocks}, kGuidedStepThreads, kGuidedStepShared, [&](EmulatedThread& thread) {
      GuidedMoments<kType, EmulatedThread>{thread, launch, moment_blocks}.run();
    });
    if (!problem.empty()) return problem;
  }
  return machine.run({blocks}, kGuidedStepThreads, kMomentCount * 8, [&](EmulatedThread& thread) {
    GuidedStep<kType, EmulatedThread>{thread, launch, moment_blocks}.run();
  });
}

void check(const Case& c, Element type, uint32_t seed) {
  std::mt19937 random(seed);
  const auto width = static_cast<size_t>(c.width), count = static_cast<size_t>(c.tokens) * width;
  Values p(type, count), n(type, count), q(type, count), tokens(Element::f32, count), velocity(Element::f32, count);
  Values steps(Element::f32, static_cast<size_t>(c.tokens));
  p.fill(random), n.fill(random), q.fill(random), tokens.fill(random), steps.fill(random);
  const Values before = tokens;
  std::vector<double> workspace(kGuidedStepWorkspace);
  GuidedStepLaunch launch{type, tokens.floats(), velocity.floats(), p.data()};
  if (c.negative) launch.negative = n.data();
  if (c.perturbed) launch.perturbed = q.data();
  launch.token_count = c.tokens, launch.width = c.width, launch.scale = c.scale, launch.cfg_rescale = c.cfg_rescale;
  launch.stg_scale = c.stg_scale, launch.stg_rescale = c.stg_rescale, launch.cfg_star = c.star, launch.step = -0.125f;
  if (c.per_token) launch.token_step = steps.floats();
  launch.workspace = workspace.data();
  Machine machine(seed);
  for (auto* values : {&p, &n, &q, &steps}) machine.readable(values->data(), values->bytes());
  for (auto* values : {&tokens, &velocity}) machine.writable(values->data(), values->bytes());
  machine.writable(workspace.data(), workspace.size() * 8);
  ASSERT_EQ(type == Element::f32 ? run<Element::f32>(machine, launch) : run<Element::bf16>(machine, launch), "");
  Doubles dp, dn, dq;
  for (size_t i = 0; i < count; ++i) dp.push_back(p.at(i)), dn.push_back(n.at(i)), dq.push_back(q.at(i));
  const Doubles expected = expected_velocity(c, dp, dn, dq);
  for (size_t i = 0; i < count; ++i) {
    // Three products of f32 coefficients up to ten times the values.
    ASSERT_NEAR(velocity.at(i), expected[i], 2e-5) << i;
    const double step = c.per_token ? steps.at(i / width) : -0.125;
    ASSERT_NEAR(tokens.at(i), before.at(i) + step * expected[i], 5e-5) << i;
  }
}

TEST(GuidedStepEmulated, EqualsGuidanceAndEulerInF64) {
  LTXV_NEEDS_FIBERS();
  uint32_t seed = 0;
  for (const auto type : kTypes)
    for (const Case& c : {Case{1, 3, false, false, false, false}, {9, 128, true, false, false, false}, {5, 16, true, false, true, true},
                          {7, 64, true, false, false, true, 6, 0.7f}, {6, 128, false, true, false, false}, {4, 130, true, true, true, true, 8, 0, 4, 0.5f},
                          {3, 65, true, true, true, false, 3, 0.3f, 2, 0.7f}})
      check(c, type, ++seed);
}

// 256 codes from the definition: sign, four exponent bits with bias 7, three mantissa bits.
double e4m3_value(int32_t code) {
  const int32_t exponent = code >> 3 & 15, mantissa = code & 7;
  const double magnitude = exponent == 0 ? mantissa / 512.0 : std::ldexp(1 + mantissa / 8.0, exponent - 7);
  return code & 128 ? -magnitude : magnitude;
}

TEST(NumberFormats, E4m3RoundsToTheNearestCodeAndTiesToEven) {
  for (int32_t code = 0; code < 127; ++code) {
    EXPECT_EQ(e4m3_bits(static_cast<float>(e4m3_value(code))), static_cast<uint32_t>(code));
    EXPECT_EQ(e4m3_bits(static_cast<float>(-e4m3_value(code))), static_cast<uint32_t>(code | 128));
    if (code == 126) continue;
    const auto middle = static_cast<float>((e4m3_value(code) + e4m3_value(code + 1)) / 2);  // exact in f32
    EXPECT_EQ(e4m3_bits(middle), static_cast<uint32_t>(code % 2 ? code + 1 : code));
    EXPECT_EQ(e4m3_bits(std::nextafter(middle, 0.0f)), static_cast<uint32_t>(code));
    EXPECT_EQ(e4m3_bits(std::nextafter(middle, 1e9f)), static_cast<uint32_t>(code + 1));
  }
  EXPECT_EQ(e4m3_value(126), 448);
  for (const float big : {449.0f, 1e6f, INFINITY}) EXPECT_EQ(e4m3_bits(big), 126u);
  EXPECT_EQ(e4m3_bits(-INFINITY), 254u);
  EXPECT_EQ(e4m3_bits(NAN) & 127, 127u);
}

TEST(NumberFormats, Bf16RoundsToTheNearestAndTiesToEven) {
  for (uint32_t code = 0; code < 0x7f7f; code += 7) {
    const float here = bf16_low(code), next = bf16_low(code + 1);
    EXPECT_EQ(bf16_bits(here), code);
    const auto middle = static_cast<float>((static_cast<double>(here) + next) / 2);
    EXPECT_EQ(bf16_bits(middle), code % 2 ? code + 1 : code);
    EXPECT_EQ(bf16_bits(std::nextafter(middle, 0.0f)), code);
  }
  EXPECT_EQ(bf16_bits(INFINITY), 0x7f80u);
  EXPECT_TRUE(std::isnan(bf16_low(bf16_bits(NAN))));
}

}  // namespace
}  // namespace ltxv
