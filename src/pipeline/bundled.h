#pragma once
#include <string>

#include "base/error.h"

namespace ltxv {

/// Folder of a bundled model: share/ltxv/models/<name> of the build tree or of the installation the library lies in.
/// Errors: IoError listing the places searched; InvalidArgument for something that is not a plain name.
std::string bundled_model_folder(const std::string& name);

}  // namespace ltxv
