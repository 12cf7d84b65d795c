#include "diffusion/schedule.h"

#include <cmath>

#include "base/error.h"

namespace ltxv {

std::vector<double> uniform_sigmas(int64_t step_count, double shift) {
  LTXV_CHECK(step_count >= 1, "step count ", step_count, " is not at least 1");
  LTXV_CHECK(shift > 0 && std::isfinite(shift), "schedule shift ", shift, " is not positive");
  std::vector<double> sigmas(step_count);
  const double n = static_cast<double>(step_count);
  for (int64_t i = 0; i < step_count; ++i) {
    const double t = step_count == 1 ? 1.0 : 1.0 + (1.0 / n - 1.0) * static_cast<double>(i) / (n - 1.0);
    sigmas[i] = shift * t / (1.0 + (shift - 1.0) * t);
  }
  return sigmas;
}

std::vector<double> shifted_sigmas(int64_t step_count, int64_t token_count, const ShiftLine& line, double terminal) {
  LTXV_CHECK(terminal == 0 || step_count >= 2, "this model's schedule needs at least 2 steps, got ", step_count);
  const double slope = (line.max_shift - line.base_shift) / (line.max_tokens - line.base_tokens);
  const double mu = line.base_shift + (static_cast<double>(token_count) - line.base_tokens) * slope;
  auto sigmas = uniform_sigmas(step_count, 1.0);
  for (double& t : sigmas) t = std::exp(mu) / (std::exp(mu) + (1.0 / t - 1.0));  // in this order 1 stays 1, whatever mu is
  if (terminal != 0) {
    const double stretch = (1.0 - terminal) / (1.0 - sigmas.back());
    for (double& t : sigmas) t = 1.0 - (1.0 - t) * stretch;
  }
  return sigmas;
}

std::vector<double> linear_quadratic_sigmas(int64_t step_count, double threshold) {
  LTXV_CHECK(step_count >= 1, "step count ", step_count, " is not at least 1");
  if (step_count == 1) return {1.0};
  const auto n = static_cast<double>(step_count), linear = static_cast<double>(step_count / 2);
  const double quadratic = n - linear, difference = linear - threshold * n;
  const double a = difference / (linear * quadratic * quadratic);
  const double b = threshold / linear - 2.0 * difference / (quadratic * quadratic);
  const double c = a * linear * linear;
  std::vector<double> sigmas(step_count);
  for (int64_t step = 0; step < step_count; ++step) {
    const auto i = static_cast<double>(step);
    sigmas[step] = i < linear ? 1.0 - i * threshold / linear : 1.0 - (a * i * i + b * i + c);
  }
  return sigmas;
}

void check_sigmas(const std::vector<double>& sigmas) {
  LTXV_CHECK(!sigmas.empty(), "the list of sigmas is empty");
  for (size_t i = 0; i < sigmas.size(); ++i) {
    LTXV_CHECK(sigmas[i] > 0 && sigmas[i] <= 1, "sigma ", sigmas[i], " at position ", i, " is not in (0, 1]");
    LTXV_CHECK(i == 0 || sigmas[i] < sigmas[i - 1], "sigmas must fall: ", sigmas[i - 1], " is followed by ", sigmas[i]);
  }
}

}  // namespace ltxv
