#include "weights/value_scan.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <vector>

#include "base/tensor.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

constexpr int64_t kPieceBytes = 64 << 20;  // between two looks at the cancel switch

// A number without its sign, as the unsigned integer its bits are: the order of sizes is the order of these integers, so that one pass of
// compares and additions, which becomes vector code, finds everything.
template <class Word>
struct Bits {
  Word size_mask;
  Word infinity;     // above it: NaN
  Word fp16_limit;   // 65504
};

template <class Word>
struct Found {
  Word largest = 0;
  int64_t nan = 0, inf = 0, beyond = 0;
};

template <class Word>
Found<Word> look_at(const std::byte* data, int64_t count, const Bits<Word>& bits) {
  Found<Word> found;
  // Counters as narrow as the words keep the loop in vectors; a run is short enough for them not to overflow.
  constexpr int64_t kRun = 255;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(count, begin + kRun);
    Word largest = 0, nan = 0, inf = 0, beyond = 0;
    for (int64_t i = begin; i < end; ++i) {
      Word word;
      std::memcpy(&word, data + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
      word &= bits.size_mask;
      nan += static_cast<Word>(word > bits.infinity);
      inf += static_cast<Word>(word == bits.infinity);
      beyond += static_cast<Word>(word > bits.fp16_limit);
      const Word finite = word < bits.infinity ? word : Word{0};
      largest = std::max(largest, finite);
    }
    found.largest = std::max(found.largest, largest);
    found.nan += nan, found.inf += inf, found.beyond += beyond;
  }
  found.beyond -= found.nan + found.inf;
  return found;
}

// Adds what `piece(begin, end)` finds over [0, count), in parallel.
template <class Piece>
auto gathered(int64_t count, int64_t grain, const Piece& piece) {
  decltype(piece(0, 0)) sum;
  std::mutex mutex;
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    const auto found = piece(begin, end);
    const std::lock_guard lock(mutex);
    sum.largest = std::max(sum.largest, found.largest);
    sum.nan += found.nan, sum.inf += found.inf, sum.beyond += found.beyond;
  });
  return sum;
}

template <class Word, class Value>
void scan_words(const TensorEntry& entry, const RunContext& run, const Bits<Word>& bits, const Value& value_of, ValueScan& scan) {
  constexpr int64_t kGrain = (1 << 20) / sizeof(Word), kPiece = kPieceBytes / sizeof(Word);
  scan.count = static_cast<int64_t>(entry.byte_count / sizeof(Word));
  for (int64_t at = 0; at < scan.count; at += kPiece) {
    run.check_cancelled();
    const int64_t count = std::min(kPiece, scan.count - at);
    const std::byte* const data = entry.data + at * static_cast<int64_t>(sizeof(Word));
    const auto found = gathered(count, kGrain, [&](int64_t begin, int64_t end) {
      return look_at<Word>(data + begin * static_cast<int64_t>(sizeof(Word)), end - begin, bits);
    });
    scan.nan_count += found.nan, scan.inf_count += found.inf, scan.beyond_fp16 += found.beyond;
    scan.largest = std::max(scan.largest, static_cast<double>(value_of(found.largest)));
    if (entry.mapped) let_go_of_pages(data, static_cast<uint64_t>(count) * sizeof(Word));
  }
}

// Block types have no bits of their own: they are widened, a little at a time.
void scan_blocks(const TensorEntry& entry, const RunContext& run, const Bits<uint32_t>& f32, ValueScan& scan) {
  constexpr int64_t kWidened = 4096;  // floats that stay in the cache; a multiple of every block
  const StoredBlock block = stored_block(entry.type);
  const int64_t block_count = static_cast<int64_t>(entry.byte_count) / block.bytes, at_once = kWidened / block.elements;
  scan.count = block_count * block.elements;
  const int64_t piece = kPieceBytes / block.bytes / at_once * at_once;
  for (int64_t at = 0; at < block_count; at += piece) {
    run.check_cancelled();
    const int64_t count = std::min(piece, block_count - at);
    const std::byte* const data = entry.data + at * block.bytes;
    const auto found = gathered(count, 64 * at_once, [&](int64_t begin, int64_t end) {
      std::array<float, kWidened> wide;
      Found<uint32_t> sum;
      for (int64_t b = begin; b < end; b += at_once) {
        const int64_t elements = std::min(at_once, end - b) * block.elements;
        dequantise(entry.type, data + b * block.bytes, elements, wide.data());
        const auto one = look_at<uint32_t>(reinterpret_cast<const std::byte*>(wide.data()), elements, f32);
        sum.largest = std::max(sum.largest, one.largest);
        sum.nan += one.nan, sum.inf += one.inf, sum.beyond += one.beyond;
      }
      return sum;
    });
    scan.nan_count += found.nan, scan.inf_count += found.inf, scan.beyond_fp16 += found.beyond;
    scan.largest = std::max(scan.largest, static_cast<double>(std::bit_cast<float>(found.largest)));
    if (entry.mapped) let_go_of_pages(data, static_cast<uint64_t>(count * block.bytes));
  }
}

float fp8_value(StoredType type, uint8_t bits) {
  float value = 0;
  const auto byte = static_cast<std::byte>(bits);
  dequantise(type, &byte, 1, &value);
  return value;
}

}  // namespace

ValueScan scan_values(const TensorEntry& entry, const RunContext& run) {
  constexpr Bits<uint32_t> kF32{0x7fffffffu, 0x7f800000u, std::bit_cast<uint32_t>(65504.0f)};
  ValueScan scan;
  switch (entry.type) {
    case StoredType::f64: {
      constexpr Bits<uint64_t> kF64{~uint64_t{0} >> 1, uint64_t{0x7ff} << 52, std::bit_cast<uint64_t>(65504.0)};
      const auto value = [](uint64_t bits) { return std::bit_cast<double>(bits); };
      scan_words<uint64_t>(entry, run, kF64, value, scan);
      scan.beyond_fp32 = scan.largest > static_cast<double>(std::numeric_limits<float>::max());
      break;
    }
    case StoredType::f32:
      scan_words<uint32_t>(entry, run, kF32, [](uint32_t bits) { return std::bit_cast<float>(bits); }, scan);
      break;
    case StoredType::bf16: {
      // 65536 is the first value of the format beyond 65504; the last one below is 65280.
      constexpr Bits<uint16_t> kBf16{0x7fff, 0x7f80, std::bit_cast<uint32_t>(65280.0f) >> 16};
      scan_words<uint16_t>(entry, run, kBf16,
                           [](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }, scan);
      break;
    }
    case StoredType::f16:
      scan_words<uint16_t>(entry, run, {0x7fff, 0x7c00, 0x7bff}, [](uint16_t bits) {
        return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
      }, scan);
      break;
    case StoredType::f8_e5m2:
      scan_words<uint8_t>(entry, run, {0x7f, 0x7c, 0x7b}, [](uint8_t bits) { return fp8_value(StoredType::f8_e5m2, bits); }, scan);
      break;
    case StoredType::f8_e4m3: {
      // No infinities: the largest pattern is NaN, and is counted as the infinity of the other formats.
      scan_words<uint8_t>(entry, run, {0x7f, 0x7f, 0x7e}, [](uint8_t bits) { return fp8_value(StoredType::f8_e4m3, bits); }, scan);
      std::swap(scan.nan_count, scan.inf_count);
      break;
    }
    default:
      if (is_block_type(entry.type)) scan_blocks(entry, run, kF32, scan);
  }
  return scan;
}

double column_unevenness(const TensorEntry& entry) {
  LTXV_CHECK(entry.shape.size() == 2 && entry.shape[0] > 0 && entry.shape[1] > 1 &&
                 (is_narrow_type(entry.type) || at::isFloatingType(scalar_type(entry.type))),
             "tensor '", printable(entry.name), "' is not a matrix of numbers");
  const int64_t rows = entry.shape[0], columns = entry.shape[1];
  const StoredBlock block = stored_block(entry.type);
  const int64_t row_bytes = columns / block.elements * block.bytes;
  std::vector<double> squares(static_cast<size_t>(columns), 0.0);
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t r = 0; r < rows; ++r) {
    if (is_narrow_type(entry.type)) {
      dequantise(entry.type, entry.data + r * row_bytes, columns, row.data());
    } else {
      // Copied first: a file's rows may be unaligned.
      const at::Tensor stored = at::empty({columns}, at::TensorOptions().dtype(scalar_type(entry.type)));
      std::memcpy(stored.data_ptr(), entry.data + r * row_bytes, static_cast<size_t>(row_bytes));
      at::from_blob(row.data(), {columns}, at::kFloat).copy_(stored);
    }
    for (size_t c = 0; c < row.size(); ++c) squares[c] += static_cast<double>(row[c]) * row[c];
  }
  double mean = 0, spread = 0;
  for (const double s : squares) mean += std::sqrt(s) / static_cast<double>(columns);
  for (const double s : squares) spread += (std::sqrt(s) - mean) * (std::sqrt(s) - mean) / static_cast<double>(columns);
  if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);
  return mean > 0 ? std::sqrt(spread) / mean : 0;
}

}  // namespace ltxv
