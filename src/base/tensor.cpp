#include "base/tensor.h"

// This file exists so that the precompiled header has a target to belong to.
namespace ltxv::detail {
int tensor_header_anchor() { return 0; }
}  // namespace ltxv::detail
