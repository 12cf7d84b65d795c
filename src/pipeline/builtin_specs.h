#pragma once
#include <string_view>
#include <vector>

namespace ltxv {

/// The texts of src/pipeline/specs/*.json, embedded at build time, tried in this order when a model does not describe itself.
const std::vector<std::string_view>& builtin_spec_texts();

}  // namespace ltxv
