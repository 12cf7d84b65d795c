// Compiled once per instruction set with LTXV_ISA defined. Sixteen channels are one vector (GCC and Clang split it where the
// registers are narrower).
#include <cmath>
#include <cstring>

#include "conv3d/winograd_product.h"
#include "vae_norm/vae_rows.h"

namespace ltxv::ops::cpu::LTXV_ISA {
namespace {

constexpr int64_t kLanes = kVaeLanes;
static_assert(kLanes == kPanel);
typedef float Vec __attribute__((vector_size(64)));
typedef int32_t IntVec __attribute__((vector_size(64)));
typedef uint32_t BitVec __attribute__((vector_size(64)));
typedef uint16_t HalfBits __attribute__((vector_size(32)));

struct Bf16 {
  uint16_t bits;
};

inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline Vec load(const Bf16* p) {
  HalfBits h;
  std::memcpy(&h, p, sizeof h);
  return (Vec)(__builtin_convertvector(h, BitVec) << 16);
}
inline void store(Bf16* p, Vec v) {
  const BitVec bits = (BitVec)v;
  const BitVec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest even
  const HalfBits h = __builtin_convertvector(v == v ? rounded : (bits >> 16) | 0x40, HalfBits);
  std::memcpy(p, &h, sizeof h);
}

// exp within 2 ulp for |x| <= 87; beyond, the nearest of these two. Taylor series on [-ln2/2, ln2/2], Cody-Waite reduction.
inline Vec exp_vec(Vec x) {
  x = x > 87.0f ? Vec{} + 87.0f : x;
  x = x < -87.0f ? Vec{} - 87.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = x * 1.44269504088896341f + kRound;
  const Vec n = shifted - kRound;
  const Vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Vec p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return (Vec)((IntVec)p + (__builtin_convertvector(n, IntVec) << 23));
}

inline Vec silu(Vec x) {
  // x / (1 + e^-x) would keep a NaN, but exp_vec's clamp hides an infinite argument: -inf gives -inf * 0 there, 0 / inf here.
  return x / (1.0f + exp_vec(-x));
}

inline float sum(Vec v) {
  float s = 0;
  for (int64_t l = 0; l < kLanes; ++l) s += v[l];
  return s;
}

template <class T>
void norm_rows(const VaeNormArgs& a, int64_t begin, int64_t end) {
  const int64_t c = a.channels, padded = a.front + a.frames + a.back;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t position = row % a.positions, t = row / a.positions % a.frames, b = row / (a.positions * a.frames);
    const T* x = static_cast<const T*>(a.x) + row * c;
    T* out = static_cast<T*>(a.out) + ((b * padded + t + a.front) * a.positions + position) * c;
    Vec squares0{}, squares1{};
    int64_t i = 0;
    for (; i + 2 * kLanes <= c; i += 2 * kLanes) {
      const Vec v0 = load(x + i), v1 = load(x + i + kLanes);
      squares0 += v0 * v0;
      squares1 += v1 * v1;
    }
    for (; i < c; i += kLanes) squares0 += load(x + i) * load(x + i);
    const float inverse = 1.0f / std::sqrt(sum(squares0 + squares1) / static_cast<float>(c) + a.eps);
    if (a.scale) {
      const float *scale = a.scale + b * c, *shift = a.shift + b * c;
      for (i = 0; i < c; i += kLanes) store(out + i, silu(load(x + i) * inverse * (load(scale + i) + 1.0f) + load(shift + i)));
    } else {
      for (i = 0; i < c; i += kLanes) store(out + i, silu(load(x + i) * inverse));
    }
    const int64_t frame = a.positions * c;
    if (t == 0) {
      for (int64_t f = 1; f <= a.front; ++f) std::memcpy(out - f * frame, out, c * sizeof(T));
    }
    if (t == a.frames - 1) {
      for (int64_t f = 1; f <= a.back; ++f) std::memcpy(out + f * frame, out, c * sizeof(T));
    }
  }
}

inline float to_float(float v) { return v; }
inline float to_float(Bf16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

template <class T>
void depth_to_space_rows(const DepthToSpaceArgs& a, int64_t begin, int64_t end) {
  const int64_t positions = a.st * a.sh * a.sw, c = a.channels, r = a.residual_channels;
  const int64_t out_frames = a.frames * a.st - a.dropped;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t h = row % a.height, t = row / a.height % a.frames, b = row / (a.height * a.frames);
    for (int64_t w = 0; w < a.width; ++w) {
      const T* y = static_cast<const T*>(a.y) + (row * a.width + w) * c * positions;
      const T* x = a.residual ? static_cast<const T*>(a.residual) + (row * a.width + w) * r * positions : nullptr;
      for (int64_t p = 0; p < positions; ++p) {
        const int64_t dt = p / (a.sh * a.sw), dh = p / a.sw % a.sh, dw = p % a.sw;
        const int64_t frame = t * a.st + dt - a.dropped;
        if (frame < 0) continue;
        T* out = static_cast<T*>(a.out) +
                 (((b * out_frames + frame) * a.height * a.sh + h * a.sh + dh) * a.width * a.sw + w * a.sw + dw) * c;
        for (int64_t i = 0; i < c; i += kLanes) {
          float block[kLanes];
          for (int64_t l = 0; l < kLanes; ++l) block[l] = to_float(y[(i + l) * positions + p]);
          if (x) {
            for (int64_t l = 0; l < kLanes; ++l) block[l] += to_float(x[(i + l) % r * positions + p]);
          }
          store(out + i, load(block));
        }
      }
    }
  }
}

template <class T>
void gather_rows(const PatchArgs& a, int64_t begin, int64_t end) {
  const WinogradShape& s = a.shape;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t w = index % s.width, h = index / s.width % s.height, t = index / (s.width * s.height) % s.frames;
    const int64_t b = index / (s.width * s.height * s.frames);
    T* row = static_cast<T*>(a.rows) + index * a.channels * 27;
    for (int64_t tap = 0; tap < 27; ++tap) {
      const int64_t y = h + tap / 3 % 3 - 1, x = w + tap % 3 - 1;
      const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
      if (!inside) {
        for (int64_t c = 0; c < a.channels; ++c) row[c * 27 + tap] = T{};
        continue;
      }
      const T* source = static_cast<const T*>(a.x) + (((b * (s.frames + 2) + t + tap / 9) * s.height + y) * s.width + x) * a.channels;
      for (int64_t c = 0; c < a.channels; ++c) row[c * 27 + tap] = source[c];
    }
  }
}

// The rows of B^T: the input transform of F(2,3) along one axis.
inline void input_transform(Vec a, Vec b, Vec c, Vec d, Vec* out, int64_t step) {
  out[0] = a - c;
  out[step] = b + c;
  out[2 * step] = c - b;
  out[3 * step] = b - d;
}

template <class T>
void weight_rows(const WinogradWeightArgs& a, int64_t begin, int64_t end) {
  const int64_t c = a.channels, plane = a.count * c, panel = kPanel * c;
  // G along one axis: g0, (g0+g1+g2)/2, (g0-g1+g2)/2, g2.
  const auto expand = [](Vec g0, Vec g1, Vec g2, Vec* out, int64_t step) {
    const Vec even = (g0 + g2) * 0.5f, odd = g1 * 0.5f;
    out[0] = g0;
    out[step] = even + odd;
    out[2 * step] = even - odd;
    out[3 * step] = g2;
  };
  for (int64_t n = 0; n < c; ++n) {
    for (int64_t o = begin; o < end; o += kLanes) {
      const T* w = static_cast<const T*>(a.w) + ((a.first + o) * c + n) * 27;
      float taps[27][kLanes];
      for (int64_t l = 0; l < kLanes; ++l)
        for (int64_t k = 0; k < 27; ++k) taps[k][l] = to_float(w[l * c * 27 + k]);
      Vec columns[9 * 4], planes[3 * 16];
      for (int64_t r = 0; r < 9; ++r) expand(load(taps[3 * r]), load(taps[3 * r + 1]), load(taps[3 * r + 2]), columns + 4 * r, 1);
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t k = 0; k < 4; ++k)
          expand(columns[12 * i + k], columns[12 * i + 4 + k], columns[12 * i + 8 + k], planes + 16 * i + k, 4);
      for (int64_t p = 0; p < 16; ++p) {
        Vec out[4];
        expand(planes[p], planes[16 + p], planes[32 + p], out, 1);
        for (int64_t i = 0; i < 4; ++i) store(a.u + (16 * i + p) * plane + o / kPanel * panel + n * kPanel, out[i]);
      }
    }
  }
}

struct Tile {
  int64_t b, t, h, w;  // of the first output position
};
inline Tile tile_at(const WinogradShape& s, int64_t index) {
  return {index / (s.tiles_w * s.tiles_h * s.tiles_t), index / (s.tiles_w * s.tiles_h) % s.tiles_t * 2,
          index / s.tiles_w % s.tiles_h * 2, index % s.tiles_w * 2};
}

}  // namespace

void vae_norm(const VaeNormArgs& a, int64_t begin, int64_t end) {
  a.bf16 ? norm_rows<Bf16>(a, begin, end) : norm_rows<float>(a, begin, end);
}

void depth_to_space(const DepthToSpaceArgs& a, int64_t begin, int64_t end) {
  a.bf16 ? depth_to_space_rows<Bf16>(a, begin, end) : depth_to_space_rows<float>(a, begin, end);
}

void gather_patches(const PatchArgs& a, int64_t begin, int64_t end) {
  a.bf16 ? gather_rows<Bf16>(a, begin, end) : gather_rows<float>(a, begin, end);
}

void winograd_input(const WinogradInputArgs& a, int64_t begin, int64_t end) {
  const WinogradShape& s = a.shape;
  const int64_t c = a.channels, row = c + kRowGap, plane = a.capacity * row;
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = tile_at(s, index);
    const float* source[4][4][4];  // nullptr: outside, zero
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t j = 0; j < 4; ++j)
        for (int64_t k = 0; k < 4; ++k) {
          const int64_t t = tile.t + i, h = tile.h + j - 1, w = tile.w + k - 1;
          const bool inside = t < s.frames + 2 && h >= 0 && h < s.height && w >= 0 && w < s.width;
          source[i][j][k] = inside ? a.x + (((tile.b * (s.frames + 2) + t) * s.height + h) * s.width + w) * c : nullptr;
        }
    float* v = a.v + (index - a.first) * row;
    for (int64_t n = 0; n < c; n += kLanes) {
      Vec planes[4][16];
      for (int64_t i = 0; i < 4; ++i) {
        Vec rows[16];
        for (int64_t j = 0; j < 4; ++j) {
          Vec d[4];
          for (int64_t k = 0; k < 4; ++k) d[k] = source[i][j][k] ? load(source[i][j][k] + n) : Vec{};
          input_transform(d[0], d[1], d[2], d[3], rows + 4 * j, 1);
        }
        for (int64_t k = 0; k < 4; ++k) input_transform(rows[k], rows[4 + k], rows[8 + k], rows[12 + k], planes[i] + k, 4);
      }
      for (int64_t p = 0; p < 16; ++p) {
        Vec out[4];
        input_transform(planes[0][p], planes[1][p], planes[2][p], planes[3][p], out, 1);
        for (int64_t i = 0; i < 4; ++i) store(v + (16 * i + p) * plane + n, out[i]);
      }
    }
  }
}

void winograd_weight(const WinogradWeightArgs& a, int64_t begin, int64_t end) {
  a.bf16 ? weight_rows<Bf16>(a, begin, end) : weight_rows<float>(a, begin, end);
}

void winograd_output(const WinogradOutputArgs& a, int64_t begin, int64_t end) {
  const WinogradShape& s = a.shape;
  const int64_t plane = a.capacity * a.channel_count;
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = tile_at(s, index);
    const float* m = a.m + (index - a.first) * a.channel_count;
    for (int64_t n = 0; n < a.channel_count; n += kLanes) {
      Vec planes[4][4];
      for (int64_t i = 0; i < 4; ++i) {
        Vec sums[2][4];
        for (int64_t k = 0; k < 4; ++k) {
          const float* at = m + (16 * i + k) * plane + n;
          const Vec m0 = load(at), m1 = load(at + 4 * plane), m2 = load(at + 8 * plane), m3 = load(at + 12 * plane);
          sums[0][k] = m0 + m1 + m2;
          sums[1][k] = m1 - m2 - m3;
        }
        for (int64_t j = 0; j < 2; ++j) {
          planes[i][2 * j] = sums[j][0] + sums[j][1] + sums[j][2];
          planes[i][2 * j + 1] = sums[j][1] - sums[j][2] - sums[j][3];
        }
      }
      const int64_t channel = a.channel_first + n;
      const Vec bias = load(a.bias + channel);
      for (int64_t j = 0; j < 2; ++j)
        for (int64_t k = 0; k < 2; ++k) {
          const int64_t h = tile.h + j, w = tile.w + k, p = 2 * j + k;
          if (h >= s.height || w >= s.width) continue;
          const Vec y[2] = {planes[0][p] + planes[1][p] + planes[2][p] + bias, planes[1][p] - planes[2][p] - planes[3][p] + bias};
          for (int64_t i = 0; i < 2 && tile.t + i < s.frames; ++i) {
            const int64_t at = (((tile.b * s.frames + tile.t + i) * s.height + h) * s.width + w) * a.channels + channel;
            store(a.out + at, a.residual ? y[i] + load(a.residual + at) : y[i]);
          }
        }
    }
  }
}

}  // namespace ltxv::ops::cpu::LTXV_ISA
