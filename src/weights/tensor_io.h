#pragma once
// Between files and ATen.
#include <map>
#include <memory>
#include <string>

#include "base/tensor.h"
#include "weights/tensor_source.h"

namespace ltxv {

/// The ATen type of a stored element type. Errors: InternalError for a block type.
at::ScalarType scalar_type(StoredType type);

/// The tensor in its stored type, on the CPU: in place where the bytes are aligned (it then keeps the source alive),
/// else a copy. Block types are not tensors: see matrix.h.
at::Tensor to_tensor(const TensorEntry& entry, std::shared_ptr<const TensorSource> source);

/// Whether a tensor holds NaN or Inf, looked up in the stored bits (of a block type, in its scales); integers never do.
bool has_nan_or_inf(const TensorEntry& entry);

/// Writes tensors of any device and layout to a safetensors file; complete or absent.
/// Errors: as write_safetensors; InvalidArgument for an element type the format does not have.
void save_tensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                  const std::map<std::string, std::string>& metadata = {});

}  // namespace ltxv
