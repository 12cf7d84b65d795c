#pragma once
// Golden tensors (tests/golden, SOURCES.md) and the measure they are compared with.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "weights/tensor_io.h"
#include "weights/tensor_source.h"

namespace ltxv::test {

inline std::string golden_path(const std::string& name) {
  return std::string(LTXV_SOURCE_DIR) + "/tests/golden/" + name;
}

/// One file of golden tensors. A missing name throws: a test must not pass because its expectation is gone.
class Golden {
 public:
  explicit Golden(const std::string& name) : source_(open_tensors(golden_path(name + ".safetensors"))) {}

  at::Tensor operator[](const std::string& name) const {
    const TensorEntry* entry = source_->find(name);
    if (!entry) throw std::runtime_error("no golden tensor " + name + " in " + source_->path());
    return to_tensor(*entry, source_);
  }
  bool has(const std::string& name) const { return source_->find(name) != nullptr; }

  std::vector<double> numbers(const std::string& name) const {
    const auto values = (*this)[name].to(at::kDouble).contiguous();
    return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
  }

  /// Names `<prefix><rest>`, the rest returned.
  std::vector<std::string> below(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const TensorEntry& entry : source_->entries())
      if (entry.name.rfind(prefix, 0) == 0) names.push_back(entry.name.substr(prefix.size()));
    return names;
  }

 private:
  std::shared_ptr<const TensorSource> source_;
};

/// Largest difference over the deviation of what is expected; infinite for other shapes or values that are not finite.
inline double error_over_deviation(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const auto a = actual.to(at::kDouble), e = expected.to(at::kDouble);
  const double error = (a - e).abs().max().item<double>();
  const double deviation = e.numel() > 1 ? e.std().item<double>() : e.abs().max().item<double>();
  return std::isfinite(error) ? error / std::max(deviation, 1e-12) : std::numeric_limits<double>::infinity();
}

/// sqrt(mean (a - e)^2 / mean e^2): the measure of reduced precision.
inline double relative_rms(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const auto e = expected.to(at::kDouble);
  return ((actual.to(at::kDouble) - e).pow(2).mean() / e.pow(2).mean()).sqrt().item<double>();
}

#define EXPECT_MATCHES(actual, expected, tolerance)                                \
  EXPECT_LE(::ltxv::test::error_over_deviation((actual), (expected)), (tolerance)) \
      << #actual << " " << (actual).sizes() << " against " << #expected << " " << (expected).sizes()

}  // namespace ltxv::test
