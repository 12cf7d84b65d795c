// Finds models that are installed with the library, from where the library itself lies.
#include "pipeline/bundled.h"

#include "base/own_folder.h"

namespace ltxv {
namespace fs = std::filesystem;

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
