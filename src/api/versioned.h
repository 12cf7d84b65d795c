#pragma once
// The struct_size rules of include/ltxv/ltxv.h, in one place.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace ltxv::api {

/// The smallest struct a caller can pass: struct_size and the field beside it.
inline constexpr uint32_t kSmallestStruct = 8;

/// A copy of `size` bytes of a caller's struct in the shape this library knows: a missing tail is zero.
/// Errors: InvalidArgument (size below 8), Unsupported (a tail this library does not know is not zero).
template <class T>
T read_bytes(const void* from, uint32_t size, const char* what) {
  static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>);
  LTXV_CHECK(size >= kSmallestStruct, what, ": struct_size is ", size, "; set it with the _init function, to ",
             sizeof(T));
  const auto* bytes = static_cast<const unsigned char*>(from);
  for (size_t i = sizeof(T); i < size; ++i) {
    LTXV_REQUIRE(Unsupported, bytes[i] == 0, what, ": struct_size is ", size, ", this library knows ", sizeof(T),
                 " bytes, and the rest is not zero: a field newer than this library is set");
  }
  T copy{};
  std::memcpy(&copy, from, std::min<size_t>(size, sizeof(T)));
  copy.struct_size = sizeof(T);
  return copy;
}

/// NULL counts as a struct full of zeros.
template <class T>
T read_versioned(const T* from, const char* what) {
  if (from == nullptr) return T{};
  return read_bytes<T>(from, from->struct_size, what);
}

/// An array whose elements all have the struct_size of the first, which is also its stride.
template <class T>
std::vector<T> read_array(const T* first, int64_t count, const char* what) {
  std::vector<T> items;
  if (count == 0) return items;
  LTXV_CHECK(count > 0, what, ": count is ", count);
  LTXV_CHECK(first != nullptr, what, " is NULL although its count is ", count);
  const uint32_t stride = first->struct_size;
  const auto* bytes = reinterpret_cast<const unsigned char*>(first);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t size = 0;
    std::memcpy(&size, bytes + static_cast<size_t>(i) * stride, sizeof(size));
    LTXV_CHECK(size == stride, what, ": element ", i, " has struct_size ", size, ", the first has ", stride);
    items.push_back(read_bytes<T>(bytes + static_cast<size_t>(i) * stride, stride, what));
  }
  return items;
}

/// Fills a caller's struct as far as it reaches; a tail this library does not know is set to zero. The caller's
/// struct_size stays. Errors: InvalidArgument (NULL, size below 8).
template <class T>
void write_versioned(T* to, const T& value, const char* what) {
  LTXV_CHECK(to != nullptr, what, " is NULL");
  const uint32_t size = to->struct_size;
  LTXV_CHECK(size >= kSmallestStruct, what, ": struct_size is ", size, "; set it with the _init function, to ",
             sizeof(T));
  std::memset(to, 0, size);
  std::memcpy(to, &value, std::min<size_t>(size, sizeof(T)));
  to->struct_size = size;
}

}  // namespace ltxv::api
