#include "measure.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>
#include <string>

namespace bench {

double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;  // the kernel writes kB
  return 0;
}

bool reset_peak_memory() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5";  // proc(5): resets VmHWM to the present size
  clear.close();
  return !clear.fail();
}

nlohmann::ordered_json summary(std::vector<double> seconds) {
  if (seconds.empty()) return nullptr;
  const auto in_order = seconds;
  std::sort(seconds.begin(), seconds.end());
  const size_t half = seconds.size() / 2;
  const double median = seconds.size() % 2 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2;
  return {{"count", seconds.size()}, {"median", median}, {"min", seconds.front()}, {"max", seconds.back()}, {"all", in_order}};
}

std::vector<float> normal_values(size_t count, uint64_t seed) {
  std::mt19937_64 bits(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(bits);
  return values;
}

std::vector<float> smooth_frames(int64_t frames, int64_t height, int64_t width) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(3 * frames * height * width));
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t t = 0; t < frames; ++t)
      for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x)
          values.push_back(std::sin(0.05f * static_cast<float>(x + 3 * t) + static_cast<float>(c)) *
                           std::cos(0.04f * static_cast<float>(y)));
  return values;
}

}  // namespace bench
