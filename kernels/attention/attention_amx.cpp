#include "attention/attention_amx.h"

#if defined(__AMX_BF16__)
#include <immintrin.h>

#include <type_traits>

// No functions of the standard library that are shared with other objects: the linker may take the copy compiled here, for everybody.
namespace ltxv::ops::cpu {
namespace {

constexpr int64_t kTile = 512;  // bf16 in a tile: 16 rows of 64 bytes
constexpr int64_t kRow = 16;  // queries of a tile, floats of a vector
constexpr int64_t kChunk = 64;  // blocks of keys that stay in the second cache while the queries of a unit pass by
constexpr float kMoreThanAnyScore = 1e30f, kInfinity = __builtin_inff();

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct alignas(64) TileConfig {
  uint8_t palette = 0, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// LibTorch's products keep a configuration of their own between calls.
class Tiles {
 public:
  Tiles() {
    _tile_storeconfig(&before_);
    TileConfig all;
    all.palette = 1;
    for (int i = 0; i < 8; ++i) all.row_bytes[i] = 64, all.rows[i] = 16;
    _tile_loadconfig(&all);
  }
  ~Tiles() { before_.palette ? _tile_loadconfig(&before_) : _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  TileConfig before_;
};

// GCC's tile loads do not say that they read memory.
inline void fence() { asm volatile("" ::: "memory"); }

// 16 rows of 16 words of 32 bits, in place.
inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

// 2^x, within 7.5e-5: the polynomial is 2^f for f in [0,1), least squares of the relative error, reweighted until it was even. bf16 rounds by 2e-3.
inline __m512 exp2_of(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, 0x01);  // x - floor(x)
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.0780245183f), f, _mm512_set1_ps(0.226067162f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.695833538f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999925219f));
  return _mm512_scalef_ps(p, x);
}

/// 16 queries and what they have gathered so far.
struct alignas(64) State {
  uint16_t queries[4][kTile];  ///< Q^T as a right factor, 32 of the width each
  float sum[128 * kRow];       ///< O^T [width,16], not yet divided
  float shift[kRow];           ///< subtracted from the scores, in powers of two; -inf before the first
  float total[kRow];           ///< of the exponentials
};

struct alignas(64) Buffers {
  float scores[2][kAmxKeys * kRow];      ///< S^T of 32 keys
  uint16_t weights[2][kAmxKeys * kRow];  ///< P^T as a right factor: pairs of keys beside each other
};

// Each product comes in two halves, which are spread between exponentials.
template <int kHalf, int kWidth>
inline void scores_of(const uint16_t* keys, const State& s, float* to) {
  constexpr int kSteps = kWidth / 32, kMiddle = (kSteps + 1) / 2;
  if constexpr (kHalf == 0) {
    _tile_zero(4);
    _tile_zero(5);
  }
#pragma GCC unroll 4
  for (int step = kHalf ? kMiddle : 0; step < (kHalf ? kSteps : kMiddle); ++step) {
    _tile_loadd(7, s.queries[step], 64);
    _tile_loadd(6, keys + (2 * step) * kTile, 64);
    _tile_dpbf16ps(4, 6, 7);
    _tile_loadd(6, keys + (2 * step + 1) * kTile, 64);
    _tile_dpbf16ps(5, 6, 7);
  }
  if constexpr (kHalf == 1) {
    _tile_stored(4, to, 64);
    _tile_stored(5, to + kRow * kRow, 64);
  }
}

// The first 64 of the width stay in tiles 0 to 3, the rest passes through tile 4.
template <int kHalf, int kWidth>
inline void add_values(const uint16_t* values, const uint16_t* weights, float* sum) {
  if constexpr (kHalf == 0) {
    _tile_loadd(7, weights, 64);
    _tile_loadd(6, values, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(6, values + kTile, 64);
    _tile_dpbf16ps(1, 6, 7);
  } else if constexpr (kWidth > 32) {
    _tile_loadd(6, values + 2 * kTile, 64);
    _tile_dpbf16ps(2, 6, 7);
    _tile_loadd(6, values + 3 * kTile, 64);
    _tile_dpbf16ps(3, 6, 7);
  }
  constexpr int kTiles = kWidth / 16, kMiddle = 4 + (kTiles - 4) / 2;
#pragma GCC unroll 4
  for (int t = kHalf ? kMiddle : 4; t < (kHalf ? kTiles : kMiddle); ++t) {
    _tile_loadd(4, sum + t * kRow * kRow, 64);
    _tile_loadd(6, values + t * kTile, 64);
    _tile_dpbf16ps(4, 6, 7);
    _tile_stored(4, sum + t * kRow * kRow, 64);
  }
}

template <int kWidth>
inline void load_sum(const float* sum) {
  fence();
  _tile_loadd(0, sum, 64);
  _tile_loadd(1, sum + 256, 64);
  if constexpr (kWidth > 32) {
    _tile_loadd(2, sum + 512, 64);
    _tile_loadd(3, sum + 768, 64);
  }
}

template <int kWidth>
inline void store_sum(float* sum) {
  _tile_stored(0, sum, 64);
  _tile_stored(1, sum + 256, 64);
  if constexpr (kWidth > 32) {
    _tile_stored(2, sum + 512, 64);
    _tile_stored(3, sum + 768, 64);
  }
  fence();
}

/// Exponentials of 32 keys' scores, as a right factor.
class Softmax {
 public:
  explicit Softmax(const State& s, float scale)
      : to_powers_of_two_(_mm512_set1_ps(scale * 1.44269504f)), shift_(_mm512_load_ps(s.shift)), total_(_mm512_load_ps(s.total)) {}

  /// `between` is called with 0 to 3, in front of a quarter each. `rescale` gets the factor of what was summed before, where that has to
  /// change.
  template <class Between, class Rescale>
  void operator()(const float* scores, uint16_t* weights, const Between& between, const Rescale& rescale) {
    if (_mm512_cmp_ps_mask(shift_, _mm512_set1_ps(-kInfinity), _CMP_EQ_OQ)) shift_ = largest(scores);
    __m512 sum = exponentials(scores, weights, between);
    // A later score may be above the shift: a float has room for 2^127. Only from here on is another one needed.
    if (_mm512_cmp_ps_mask(sum, _mm512_set1_ps(0x1p64f), _CMP_GT_OQ)) {
      const __m512 before = shift_;
      shift_ = _mm512_max_ps(before, largest(scores));
      const __m512 factor = exp2_of(_mm512_sub_ps(before, shift_));
      rescale(factor);
      total_ = _mm512_mul_ps(total_, factor);
      sum = exponentials(scores, weights, [](auto) {});
    }
    total_ = _mm512_add_ps(total_, sum);
  }

  void save(State& s) const {
    _mm512_store_ps(s.shift, shift_);
    _mm512_store_ps(s.total, total_);
  }

 private:
  __m512 largest(const float* scores) const {
    __m512 top = _mm512_load_ps(scores);
    for (int key = 1; key < kAmxKeys; ++key) top = _mm512_max_ps(top, _mm512_load_ps(scores + key * kRow));
    return _mm512_mul_ps(top, to_powers_of_two_);
  }

  template <class Between>
  __m512 exponentials(const float* scores, uint16_t* weights, const Between& between) const {
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    const auto quarter = [&](auto index) {
      between(index);
      for (int key = index * kAmxKeys / 4; key < (index + 1) * kAmxKeys / 4; key += 2) {
        const __m512 first = exp2_of(_mm512_fmsub_ps(_mm512_load_ps(scores + key * kRow), to_powers_of_two_, shift_));
        const __m512 second = exp2_of(_mm512_fmsub_ps(_mm512_load_ps(scores + (key + 1) * kRow), to_powers_of_two_, shift_));
        sums[0] = _mm512_add_ps(sums[0], first);
        sums[1] = _mm512_add_ps(sums[1], second);
        _mm512_store_si512(weights + key * kRow, pairs(first, second));
      }
    };
    quarter(std::integral_constant<int, 0>());
    quarter(std::integral_constant<int, 1>());
    quarter(std::integral_constant<int, 2>());
    quarter(std::integral_constant<int, 3>());
    return _mm512_add_ps(sums[0], sums[1]);
  }

  // bf16 of both, rounded, beside each other.
  static __m512i pairs(__m512 first, __m512 second) {
    const __m512i half = _mm512_set1_epi32(0x8000);
    const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(first), half), 16);
    return _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_add_epi32(_mm512_castps_si512(second), half));
  }

  __m512 to_powers_of_two_, shift_, total_;
};

template <int kWidth>
inline void multiply_sum(float* sum, __m512 factor) {
  for (int row = 0; row < kWidth; ++row) _mm512_store_ps(sum + row * kRow, _mm512_mul_ps(_mm512_load_ps(sum + row * kRow), factor));
}

/// Key blocks first … last - 1 for 16 queries. `past_end`: keys of the last block that are none.
template <int kWidth>
void pass(const uint16_t* packed, int64_t first, int64_t last, int64_t past_end, float scale, Buffers& b, State& s) {
  constexpr int64_t kBlock = 2 * kAmxKeys * kWidth, kValues = kAmxKeys * kWidth;
  const auto block = [&](int64_t i) { return packed + i * kBlock; };
  const auto mask_past_end = [&](int64_t i) {
    if (i + 1 < last) return;
    fence();
    for (int64_t key = kAmxKeys - past_end; key < kAmxKeys; ++key) _mm512_store_ps(b.scores[i & 1] + key * kRow, _mm512_set1_ps(-kMoreThanAnyScore));
  };
  Softmax softmax(s, scale);
  load_sum<kWidth>(s.sum);
  scores_of<0, kWidth>(block(first), s, b.scores[first & 1]);
  scores_of<1, kWidth>(block(first), s, b.scores[first & 1]);
  mask_past_end(first);
  for (int64_t i = first; i < last; ++i) {
    fence();
    softmax(
        b.scores[i & 1], b.weights[i & 1],
        [&](auto quarter) {
          constexpr int kQuarter = decltype(quarter)::value;
          if constexpr (kQuarter < 2) {
            if (i + 1 == last) return;
            scores_of<kQuarter, kWidth>(block(i + 1), s, b.scores[(i + 1) & 1]);
            if (kQuarter == 1) mask_past_end(i + 1);
          } else if (i > first) {
            add_values<kQuarter - 2, kWidth>(block(i - 1) + kValues, b.weights[(i - 1) & 1], s.sum);
          }
        },
        [&](__m512 factor) {
          store_sum<kWidth>(s.sum);
          multiply_sum<kWidth>(s.sum, factor);
          load_sum<kWidth>(s.sum);
        });
  }
  fence();
  add_values<0, kWidth>(block(last - 1) + kValues, b.weights[(last - 1) & 1], s.sum);
  add_values<1, kWidth>(block(last - 1) + kValues, b.weights[(last - 1) & 1], s.sum);
  store_sum<kWidth>(s.sum);
  softmax.save(s);
}

// Rows of 32 bf16, zeros behind the last.
inline void read_rows(const uint16_t* from, int64_t stride, int64_t count, __m512i (&rows)[16]) {
  for (int64_t i = 0; i < 16; ++i) rows[i] = i < count ? _mm512_loadu_si512(from + i * stride) : _mm512_setzero_si512();
}

template <int kWidth>
void start(State& s, const uint16_t* q, int64_t stride, int64_t count) {
  for (int i = 0; i < kWidth * kRow; ++i) s.sum[i] = 0;
  for (int i = 0; i < kRow; ++i) s.shift[i] = -kInfinity, s.total[i] = 0;
  for (int64_t at = 0; at < kWidth; at += 32) {
    __m512i rows[16];
    read_rows(q + at, stride, count, rows);
    transpose(rows);
    for (int i = 0; i < 16; ++i) _mm512_store_si512(s.queries[at / 32] + i * 32, rows[i]);
  }
}

template <int kWidth>
void write(const State& s, uint16_t* out, int64_t stride, int64_t count) {
  const __m512 share = _mm512_div_ps(_mm512_set1_ps(1), _mm512_load_ps(s.total));
  for (int64_t at = 0; at < kWidth; at += 16) {
    __m512i rows[16];
    for (int i = 0; i < 16; ++i) rows[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(s.sum + (at + i) * kRow), share));
    transpose(rows);
    for (int64_t i = 0; i < count; ++i)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * stride + at), (__m256i)_mm512_cvtneps_pbh(_mm512_castsi512_ps(rows[i])));
  }
}

template <int kWidth>
void run(const AmxAttentionArgs& a, int64_t begin, int64_t end) {
  const Tiles tiles;
  const int64_t units = amx_attention_units(a) / (a.batch * a.heads), blocks = amx_attention_key_blocks(a);
  Buffers b;
  State states[kAmxQueries / kRow];
  for (int64_t index = begin; index < end; ++index) {
    const int64_t head = index / units, first = index % units * kAmxQueries, count = smaller(kAmxQueries, a.q_length - first);
    const uint16_t* const packed = a.packed + head * blocks * 2 * kAmxKeys * kWidth;
    const uint16_t* const q = a.q + head / a.heads * a.q_batch_stride + first * a.q_row_stride + head % a.heads * kWidth;
    uint16_t* const out = a.out + head / a.heads * a.out_batch_stride + first * a.out_row_stride + head % a.heads * kWidth;
    for (int64_t row = 0; row < count; row += kRow) start<kWidth>(states[row / kRow], q + row * a.q_row_stride, a.q_row_stride, count - row);
    fence();
    for (int64_t chunk = 0; chunk < blocks; chunk += kChunk) {
      const int64_t last = smaller(blocks, chunk + kChunk), past_end = last == blocks ? blocks * kAmxKeys - a.k_length : 0;
      for (int64_t row = 0; row < count; row += kRow) pass<kWidth>(packed, chunk, last, past_end, a.scale, b, states[row / kRow]);
    }
    for (int64_t row = 0; row < count; row += kRow) write<kWidth>(states[row / kRow], out + row * a.out_row_stride, a.out_row_stride, smaller(kRow, count - row));
  }
}

}  // namespace

void amx_attention_pack(const AmxAttentionArgs& a, int64_t begin, int64_t end) {
  const int64_t blocks = amx_attention_key_blocks(a);
  for (int64_t index = begin; index < end; ++index) {
    const int64_t head = index / blocks, first = index % blocks * kAmxKeys;
    const uint16_t* const k = a.k + head / a.heads * a.k_batch_stride + first * a.k_row_stride + head % a.heads * a.width;
    const uint16_t* const v = a.v + head / a.heads * a.v_batch_stride + first * a.v_row_stride + head % a.heads * a.width;
    uint16_t* to = a.packed + index * 2 * kAmxKeys * a.width;
    __m512i rows[16];
    for (int64_t at = 0; at < a.width; at += 32)
      for (int64_t key = 0; key < kAmxKeys; key += 16, to += kTile) {
        read_rows(k + key * a.k_row_stride + at, a.k_row_stride, a.k_length - first - key, rows);
        for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, rows[i]);
      }
    // Pairs of keys become words of 32 bits, a row of 16 of the width; transposed, each row has all 32 keys.
    for (int64_t at = 0; at < a.width; at += 16, to += kTile) {
      for (int64_t i = 0; i < 16; ++i) {
        const auto row = [&](int64_t key) {
          return first + key < a.k_length ? _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(v + key * a.v_row_stride + at)))
                                          : _mm512_setzero_si512();
        };
        rows[i] = _mm512_or_si512(row(2 * i), _mm512_slli_epi32(row(2 * i + 1), 16));
      }
      transpose(rows);
      for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, rows[i]);
    }
  }
}

void amx_attention(const AmxAttentionArgs& a, int64_t begin, int64_t end) {
  switch (a.width) {
    case 32: return run<32>(a, begin, end);
    case 64: return run<64>(a, begin, end);
    case 96: return run<96>(a, begin, end);
    default: return run<128>(a, begin, end);
  }
}

}  // namespace ltxv::ops::cpu
#else
namespace ltxv::ops::cpu {
void amx_attention_pack(const AmxAttentionArgs&, int64_t, int64_t) {}
void amx_attention(const AmxAttentionArgs&, int64_t, int64_t) {}
}  // namespace ltxv::ops::cpu
#endif
