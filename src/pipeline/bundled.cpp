// Finds models that are installed with the library, from where the library itself lies.
#include <dlfcn.h>

#include <filesystem>

#include "pipeline/bundled.h"

namespace ltxv {
namespace {
namespace fs = std::filesystem;

fs::path own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr) return ".";
  std::error_code failed;
  const auto path = fs::canonical(info.dli_fname, failed);
  return failed ? fs::path(".") : path.parent_path();
}

}  // namespace

std::string bundled_model_folder(const std::string& name) {
  // A name with a slash was meant as a path.
  LTXV_REQUIRE(IoError, !name.empty() && name.find('/') == std::string::npos && name[0] != '.', "model \"", name,
               "\": no such file or folder");
  const auto here = own_folder();
  std::string searched;
  // lib/, lib/<architecture>/ and the bin/ of a build tree all reach share/ in one or two steps up.
  for (const char* up : {"..", "../.."}) {
    const auto folder = (here / up / "share" / "ltxv" / "models" / name).lexically_normal();
    if (fs::exists(folder / "model_index.json")) return folder.string();
    searched += text(searched.empty() ? "" : ", ", folder.string());
  }
  throw IoError(text("model \"", name, "\": no such file or folder, and no bundled model of that name (looked in ", searched, ")"));
}

}  // namespace ltxv
