#include <algorithm>
#include <array>

#include "base/error.h"
#include "weights/tensor_source.h"

namespace ltxv {
namespace {

struct TypeRow {
  StoredType type;
  std::string_view name;
  StoredBlock block;
};
constexpr std::array kTypes = {
    TypeRow{StoredType::f64, "F64", {1, 8}},         TypeRow{StoredType::f32, "F32", {1, 4}},
    TypeRow{StoredType::f16, "F16", {1, 2}},         TypeRow{StoredType::bf16, "BF16", {1, 2}},
    TypeRow{StoredType::f8_e4m3, "F8_E4M3", {1, 1}}, TypeRow{StoredType::f8_e5m2, "F8_E5M2", {1, 1}},
    TypeRow{StoredType::i64, "I64", {1, 8}},         TypeRow{StoredType::i32, "I32", {1, 4}},
    TypeRow{StoredType::i16, "I16", {1, 2}},         TypeRow{StoredType::i8, "I8", {1, 1}},
    TypeRow{StoredType::u8, "U8", {1, 1}},           TypeRow{StoredType::boolean, "BOOL", {1, 1}},
    TypeRow{StoredType::q4_0, "Q4_0", {32, 18}},     TypeRow{StoredType::q4_1, "Q4_1", {32, 20}},
    TypeRow{StoredType::q5_0, "Q5_0", {32, 22}},     TypeRow{StoredType::q5_1, "Q5_1", {32, 24}},
    TypeRow{StoredType::q8_0, "Q8_0", {32, 34}},     TypeRow{StoredType::q2_k, "Q2_K", {256, 84}},
    TypeRow{StoredType::q3_k, "Q3_K", {256, 110}},   TypeRow{StoredType::q4_k, "Q4_K", {256, 144}},
    TypeRow{StoredType::q5_k, "Q5_K", {256, 176}},   TypeRow{StoredType::q6_k, "Q6_K", {256, 210}},
};

const TypeRow& row_of(StoredType type) {
  const auto row = std::find_if(kTypes.begin(), kTypes.end(), [type](const TypeRow& r) { return r.type == type; });
  LTXV_ASSERT(row != kTypes.end(), "a stored type out of range");
  return *row;
}

}  // namespace

std::string_view stored_type_name(StoredType type) { return row_of(type).name; }

std::optional<StoredType> stored_type_named(std::string_view name) {
  const auto row = std::find_if(kTypes.begin(), kTypes.end(), [name](const TypeRow& r) { return r.name == name; });
  return row == kTypes.end() ? std::nullopt : std::optional(row->type);
}

StoredBlock stored_block(StoredType type) { return row_of(type).block; }

int64_t stored_type_size(StoredType type) {
  const StoredBlock block = stored_block(type);
  LTXV_ASSERT(block.elements == 1, "elements of ", stored_type_name(type), " have no size of their own");
  return block.bytes;
}

}  // namespace ltxv
