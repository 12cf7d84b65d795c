#pragma once
// What is stored in every output file: enough to make it again.
#include <string>

#include "pipeline/engine_impl.h"

namespace ltxv {

/// The resolved request (to_json), and in front of it the version, the model as it was named, the parts given apart, and the device,
/// number format and thread count that were used. One JSON object, stable key order; paths as they were given.
std::string run_record(const Engine::Impl& engine, const ResolvedRequest& resolved);

}  // namespace ltxv
