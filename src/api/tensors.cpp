// Sets of named tensors: files, plain memory, DLPack.
#include <ATen/DLConvertor.h>

#include "api/handles.h"
#include "api/versioned.h"
#include "weights/tensor_io.h"

namespace ltxv::api {
namespace {

struct TypeRow {
  int32_t dtype;
  at::ScalarType type;
};
constexpr TypeRow kTypes[] = {{LTXV_F32, at::kFloat},     {LTXV_F64, at::kDouble}, {LTXV_F16, at::kHalf},
                              {LTXV_BF16, at::kBFloat16}, {LTXV_I64, at::kLong},   {LTXV_I32, at::kInt},
                              {LTXV_I16, at::kShort},     {LTXV_I8, at::kChar},    {LTXV_U8, at::kByte},
                              {LTXV_BOOL, at::kBool}};
constexpr int32_t kMaxRank = 8;

int32_t dtype_of(const at::Tensor& tensor, const std::string& name) {
  for (const TypeRow& row : kTypes) {
    if (row.type == tensor.scalar_type()) return row.dtype;
  }
  throw Unsupported(text("tensor '", name, "' has element type ", at::toString(tensor.scalar_type()),
                         ", which has no LTXV_ constant"));
}

at::ScalarType type_of(int32_t dtype, const std::string& name) {
  for (const TypeRow& row : kTypes) {
    if (row.dtype == dtype) return row.type;
  }
  throw InvalidArgument(text("tensor '", name, "': dtype ", dtype, " is none of LTXV_F32 (1) to LTXV_BOOL (10)"));
}

void view_tensor(const std::string& name, const at::Tensor& tensor, ltxv_tensor_view* out) {
  ltxv_tensor_view view{};
  view.dtype = dtype_of(tensor, name);
  view.rank = static_cast<int32_t>(tensor.dim());
  view.shape = tensor.sizes().data();
  view.data = tensor.const_data_ptr();
  view.byte_count = tensor.nbytes();
  view.name = name.c_str();
  write_versioned(out, view, "out");
}

/// Only the fields that lie within the caller's struct_size, like every struct.
at::Tensor copy_of(const ltxv_tensor_view& view, const std::string& name) {
  const at::ScalarType type = type_of(view.dtype, name);
  LTXV_CHECK(view.rank >= 0 && view.rank <= kMaxRank, "tensor '", name, "': rank is ", view.rank, ", allowed are 0 to ",
             kMaxRank);
  LTXV_CHECK(view.rank == 0 || view.shape != nullptr, "tensor '", name, "': shape is NULL");
  uint64_t bytes = c10::elementSize(type);
  for (int32_t i = 0; i < view.rank; ++i) {
    LTXV_CHECK(view.shape[i] >= 0, "tensor '", name, "': size ", i, " is ", view.shape[i]);
    LTXV_CHECK(!__builtin_mul_overflow(bytes, static_cast<uint64_t>(view.shape[i]), &bytes), "tensor '", name,
               "': its byte count does not fit into 64 bits");
  }
  LTXV_CHECK(bytes == view.byte_count, "tensor '", name, "': byte_count is ", view.byte_count,
             ", dtype and shape need ", bytes);
  LTXV_CHECK(bytes == 0 || view.data != nullptr, "tensor '", name, "': data is NULL");
  at::Tensor copy =
      at::empty(at::IntArrayRef(view.shape, static_cast<size_t>(view.rank)), at::TensorOptions().dtype(type));
  if (bytes != 0) std::memcpy(copy.mutable_data_ptr(), view.data, bytes);
  return copy;
}

}  // namespace

const at::Tensor& find_tensor(const ltxv_tensors& tensors, const std::string& name) {
  const auto found = tensors.by_name.find(name);
  if (found != tensors.by_name.end()) return found->second;
  std::string names;
  for (const auto& [other, tensor] : tensors.by_name) names += (names.empty() ? "" : ", ") + other;
  throw InvalidArgument(text("there is no tensor '", name, "'; there are: ", names.empty() ? "none" : names));
}

at::Tensor checked_frames(const ltxv_tensors* tensors) {
  const at::Tensor frames = find_tensor(*require(tensors, "frames"), "frames");
  LTXV_CHECK(frames.dim() == 5 && frames.size(0) == 1 && frames.size(1) == 3 && frames.numel() > 0 &&
                 frames.scalar_type() == at::kFloat,
             "`frames` must be f32 [1,3,T,H,W], got ", at::toString(frames.scalar_type()), " ", frames.sizes());
  return frames;
}

}  // namespace ltxv::api

using namespace ltxv::api;

ltxv_status ltxv_tensors_new(ltxv_tensors** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    *out = new ltxv_tensors;
  });
}

ltxv_status ltxv_tensors_load(const char* path, ltxv_tensors** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    // Copied, not mapped: the caller may overwrite the file while the set lives.
    const auto source = ltxv::open_tensors(required_path(path, "path"), ltxv::FileAccess::copy);
    auto tensors = std::make_unique<ltxv_tensors>();
    for (const auto& entry : source->entries())
      tensors->by_name[entry.name] = ltxv::to_tensor(entry, source).contiguous();
    *out = tensors.release();
  });
}

ltxv_status ltxv_tensors_save(const ltxv_tensors* tensors, const char* path, ltxv_error* error) noexcept {
  return guarded(error, [&] { ltxv::save_tensors(required_path(path, "path"), require(tensors, "tensors")->by_name); });
}

int32_t ltxv_tensors_count(const ltxv_tensors* tensors) noexcept {
  return tensors == nullptr ? 0 : static_cast<int32_t>(tensors->by_name.size());
}

ltxv_status ltxv_tensors_at(const ltxv_tensors* tensors, int32_t index, ltxv_tensor_view* out,
                            ltxv_error* error) noexcept {
  return guarded(error, [&] {
    const int32_t count = ltxv_tensors_count(require(tensors, "tensors"));
    LTXV_CHECK(index >= 0 && index < count, "index is ", index, ", there are ", count, " tensors");
    const auto& [name, tensor] = *std::next(tensors->by_name.begin(), index);
    view_tensor(name, tensor, out);
  });
}

ltxv_status ltxv_tensors_get(const ltxv_tensors* tensors, const char* name, ltxv_tensor_view* out,
                             ltxv_error* error) noexcept {
  return guarded(error, [&] {
    require(tensors, "tensors");
    find_tensor(*tensors, utf8(name, "name"));
    const auto found = tensors->by_name.find(name);
    view_tensor(found->first, found->second, out);
  });
}

ltxv_status ltxv_tensors_add(ltxv_tensors* tensors, const ltxv_tensor_view* tensor, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    require(tensors, "tensors");
    const auto view = read_versioned(require(tensor, "tensor"), "tensor");
    const std::string name = utf8(view.name, "name");
    LTXV_CHECK(!name.empty(), "name is empty");
    tensors->by_name[name] = copy_of(view, name);
  });
}

ltxv_status ltxv_tensors_export_dlpack(const ltxv_tensors* tensors, const char* name, DLManagedTensor** out,
                                       ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    *out = at::toDLPack(find_tensor(*require(tensors, "tensors"), utf8(name, "name")));
  });
}

ltxv_status ltxv_tensors_import_dlpack(ltxv_tensors* tensors, const char* name, const DLManagedTensor* tensor,
                                       ltxv_error* error) noexcept {
  return guarded(error, [&] {
    require(tensors, "tensors");
    const std::string key = utf8(name, "name");
    LTXV_CHECK(!key.empty(), "name is empty");
    // A view whose deleter does nothing: the caller keeps the struct, clone() takes the data.
    DLManagedTensor borrowed = *require(tensor, "tensor");
    LTXV_REQUIRE(ltxv::Unsupported, borrowed.dl_tensor.device.device_type == kDLCPU, "tensor '", key,
                 "' is not in host memory");
    borrowed.deleter = nullptr;
    tensors->by_name[key] = at::fromDLPack(&borrowed, [](void*) {}).clone(at::MemoryFormat::Contiguous);
  });
}

void ltxv_tensors_free(ltxv_tensors* tensors) noexcept { delete tensors; }
