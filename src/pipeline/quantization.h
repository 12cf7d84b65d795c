#pragma once
// The lossy ways of computing that a user may ask an engine for.
#include <string>

#include "transformer/transformer.h"

namespace ltxv {

/// What the words of EngineOptions mean for the transformer's blocks on that device.
/// Errors: InvalidArgument (an unknown word), Unsupported (the device has no such products).
BlockOptions block_options(const std::string& quantization, const std::string& attention, at::Device device, int64_t head_width);

}  // namespace ltxv
