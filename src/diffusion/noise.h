#pragma once
// Every random number of a run, by name. Noise is always drawn on the CPU, so a seed means the same on every device.
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <ATen/core/Generator.h>

#include "base/tensor.h"

namespace ltxv {

class NoiseSource {
 public:
  /// Draws from a generator of its own, equal to torch.Generator("cpu").manual_seed(seed).
  explicit NoiseSource(uint64_t seed);
  /// Takes every draw from `given` by name instead; `file` is named in errors.
  NoiseSource(std::map<std::string, at::Tensor> given, std::string file);

  /// The next draw, standard normal f32 of `shape`. From a file, [1,N,C] and [1,C,T,H,W] are both accepted where the sizes agree.
  /// Errors: InvalidArgument when the file has no such name or another shape.
  at::Tensor draw(const std::string& name, at::IntArrayRef shape);

  /// Checks that a file has this draw, without taking it; a generator has every one. Errors: as draw.
  void require(const std::string& name, at::IntArrayRef shape) const;

  /// Written in front of every name from now on: "pass2_" in a second pass.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

  /// Everything drawn so far, by name.
  const std::map<std::string, at::Tensor>& drawn() const { return drawn_; }
  /// Empties that record: a long run that nobody asked to save it would otherwise hold all of it.
  void forget() { drawn_.clear(); }

 private:
  at::Tensor given(const std::string& name, at::IntArrayRef shape) const;

  std::optional<at::Generator> generator_;
  std::map<std::string, at::Tensor> given_, drawn_;
  std::string file_, prefix_;
};

/// "condition_00": prefix and a two-digit index.
std::string indexed_name(const std::string& prefix, int64_t index);

}  // namespace ltxv
