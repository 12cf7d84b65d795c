#pragma once
// Arrays for tests of emulated kernels.
#include <random>
#include <vector>

#include "cuda/numbers.h"
#include "launchers.h"

namespace ltxv::test {

using ops::gpu::Element;

// Values of one element type, 16-byte aligned.
struct Values {
  Element type;
  std::vector<ops::gpu::Words4> storage;
  size_t count;
  Values(Element type, size_t count) : type(type), storage((count * (type == Element::f32 ? 4 : 2) + 15) / 16), count(count) {}
  void* data() { return storage.data(); }
  float* floats() { return reinterpret_cast<float*>(storage.data()); }
  size_t bytes() const { return storage.size() * 16; }
  double at(size_t i) const {
    return type == Element::f32 ? reinterpret_cast<const float*>(storage.data())[i]
                                : ops::gpu::bf16_low(reinterpret_cast<const uint16_t*>(storage.data())[i]);
  }
  void set(size_t i, float v) {
    if (type == Element::f32)
      reinterpret_cast<float*>(storage.data())[i] = v;
    else
      reinterpret_cast<uint16_t*>(storage.data())[i] = static_cast<uint16_t>(ops::gpu::bf16_bits(v));
  }
  Values& fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < count; ++i) set(i, normal(random));
    return *this;
  }
};

// One rounding of the result and the arithmetic before it, for values below 16.
inline double tolerance(Element type) { return type == Element::f32 ? 1e-5 : 16.0 / 512; }

inline constexpr Element kTypes[] = {Element::f32, Element::bf16};

template <class Body>
void with_type(Element type, Body&& body) {
  if (type == Element::f32)
    body.template operator()<Element::f32>();
  else
    body.template operator()<Element::bf16>();
}

}  // namespace ltxv::test
