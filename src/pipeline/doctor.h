#pragma once
// What is wrong with files before they are used: whether each is whole and sound, and whether they belong together.
#include <string>
#include <vector>

#include "base/run_context.h"

namespace ltxv {

struct CheckOptions {
  std::vector<std::string> paths;  ///< model folders, component folders, files of any part, LoRAs, upsamplers; bundled names
  std::string release;             ///< of files that do not describe themselves; empty: found out
  bool headers_only = false;       ///< leaves the values unread
};

/// One JSON object:
///   good      false when a run with these files would stop or be spoiled
///   files     one object a part: path, kind, release, tensors, parameters, bytes, dtypes, what its shapes say, values, compute
///   together  the release the parts make and where each comes from; absent when they are not a model
///   missing   what a complete set still needs, each with `part` and `download`
///   findings  `severity` (problem, warning, note), `path` and `message`, one line each
/// A file that cannot be read is a finding, not an error. Tensors are read one after another and never kept.
/// Errors: InvalidArgument (no path, or an unknown release), Cancelled.
std::string check_files(const CheckOptions& options, const RunHooks& hooks = {});

}  // namespace ltxv
