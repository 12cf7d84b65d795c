#include "weights/tensor_io.h"

#include <ATen/Parallel.h>

#include <array>
#include <atomic>
#include <cstring>

#include "base/error.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"

namespace ltxv {
namespace {

struct TypePair {
  StoredType stored;
  at::ScalarType scalar;
};
constexpr std::array kTypes = {
    TypePair{StoredType::f64, at::kDouble},
    TypePair{StoredType::f32, at::kFloat},
    TypePair{StoredType::f16, at::kHalf},
    TypePair{StoredType::bf16, at::kBFloat16},
    TypePair{StoredType::f8_e4m3, at::kFloat8_e4m3fn},
    TypePair{StoredType::f8_e5m2, at::kFloat8_e5m2},
    TypePair{StoredType::i64, at::kLong},
    TypePair{StoredType::i32, at::kInt},
    TypePair{StoredType::i16, at::kShort},
    TypePair{StoredType::i8, at::kChar},
    TypePair{StoredType::u8, at::kByte},
    TypePair{StoredType::boolean, at::kBool},
};

// Counts words whose masked bits are all ones. One compare and one add a word and no exit inside, so that it becomes
// vector code; the data may be unaligned, hence the copies, which cost nothing.
template <class Word>
bool any_all_ones(const std::byte* data, int64_t count, Word mask) {
  Word found = 0;
  for (int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, data + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    found |= static_cast<Word>((word & mask) == mask);
  }
  return found != 0;
}

template <class Word>
bool scan(const TensorEntry& entry, Word mask) {
  constexpr int64_t kGrain = int64_t{1} << 20;  // pages are faulted in by all threads at once
  const int64_t count = static_cast<int64_t>(entry.byte_count / sizeof(Word));
  std::atomic<bool> found{false};
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    if (any_all_ones<Word>(entry.data + begin * static_cast<int64_t>(sizeof(Word)), end - begin, mask)) found = true;
  });
  return found;
}

bool any_bad_scale(const TensorEntry& entry) {
  constexpr int64_t kGrain = 1 << 14;
  const StoredBlock block = stored_block(entry.type);
  std::atomic<bool> found{false};
  at::parallel_for(0, static_cast<int64_t>(entry.byte_count) / block.bytes, kGrain, [&](int64_t begin, int64_t end) {
    if (has_bad_scale(entry.type, entry.data + begin * block.bytes, static_cast<uint64_t>((end - begin) * block.bytes))) found = true;
  });
  return found;
}

}  // namespace

at::ScalarType scalar_type(StoredType type) {
  for (const TypePair& pair : kTypes) {
    if (pair.stored == type) return pair.scalar;
  }
  throw InternalError("a stored type without an ATen type");
}

bool has_nan_or_inf(const TensorEntry& entry) {
  switch (entry.type) {
    case StoredType::f64:
      return scan<uint64_t>(entry, 0x7ff0000000000000);
    case StoredType::f32:
      return scan<uint32_t>(entry, 0x7f800000);
    case StoredType::f16:
      return scan<uint16_t>(entry, 0x7c00);
    case StoredType::bf16:
      return scan<uint16_t>(entry, 0x7f80);
    case StoredType::f8_e4m3:  // no infinities: only the two all-ones patterns are NaN
      return scan<uint8_t>(entry, 0x7f);
    case StoredType::f8_e5m2:
      return scan<uint8_t>(entry, 0x7c);
    default:
      return is_block_type(entry.type) && any_bad_scale(entry);
  }
}

at::Tensor to_tensor(const TensorEntry& entry, std::shared_ptr<const TensorSource> source) {
  const auto options = at::TensorOptions().dtype(scalar_type(entry.type));
  if (entry.byte_count > 0 &&
      reinterpret_cast<uintptr_t>(entry.data) % static_cast<uintptr_t>(stored_type_size(entry.type)) == 0) {
    // ATen has no read-only tensors; the mapping is private, so a write would not reach the file.
    return at::from_blob(
        const_cast<std::byte*>(entry.data), entry.shape,
        [source = std::move(source)](void*) mutable { source.reset(); }, options);
  }
  at::Tensor copy = at::empty(entry.shape, options);
  if (entry.byte_count > 0) std::memcpy(copy.data_ptr(), entry.data, entry.byte_count);
  return copy;
}

void save_tensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                  const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> owned;
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) {
    LTXV_CHECK(tensor.defined(), "tensor '", printable(name), "' is undefined and cannot be written");
    const TypePair* type = nullptr;
    for (const TypePair& pair : kTypes) {
      if (pair.scalar == tensor.scalar_type()) type = &pair;
    }
    LTXV_CHECK(type != nullptr, "tensor '", printable(name), "' has the element type ",
               c10::toString(tensor.scalar_type()), ", which safetensors files do not have");
    owned.push_back(tensor.detach().to(at::kCPU).contiguous());
    list.push_back({name, type->stored, owned.back().sizes().vec(), owned.back().data_ptr()});
  }
  write_safetensors(path, list, metadata);
}

}  // namespace ltxv
