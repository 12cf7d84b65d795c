#pragma once
// Clocks, peak memory and seeded values.
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace bench {

class Stopwatch {
 public:
  /// Units: seconds since construction or the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> passed = now - last_;
    last_ = now;
    return passed.count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Largest resident memory of this process so far, mapped weight files included; 0 where /proc is missing. Units: MiB.
double peak_memory_mib();
/// Starts the peak anew, so that what follows is measured alone. False where the kernel does not offer it.
bool reset_peak_memory();

/// count, median, min, max and every value. Empty: null.
nlohmann::ordered_json summary(std::vector<double> seconds);

/// Standard normal values; equal for equal seeds.
std::vector<float> normal_values(size_t count, uint64_t seed);
/// Smooth values in [-1,1]: what an encoder sees, without a file.
std::vector<float> smooth_frames(int64_t frames, int64_t height, int64_t width);

}  // namespace bench
