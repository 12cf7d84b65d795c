#include "pipeline/doctor.h"

#include "pipeline/doctor_parts.h"
#include "pipeline/release.h"

namespace ltxv {

using json = nlohmann::ordered_json;

std::string check_files(const CheckOptions& options, const RunHooks& hooks) {
  LTXV_CHECK(!options.paths.empty(), "no file to look at");
  if (!options.release.empty()) release_named(options.release);  // an unknown name is the caller's mistake, not a file's
  RunContext run(hooks);
  Findings findings;
  std::vector<Part> parts;
  for (const std::string& path : options.paths)
    for (Part& part : identify(path, findings)) parts.push_back(std::move(part));
  json report{{"good", true}, {"files", json::array()}};
  for (size_t i = 0; i < parts.size(); ++i) {
    run.report(Stage::load, static_cast<int64_t>(i), static_cast<int64_t>(parts.size()));
    check_names(parts[i], findings);
    if (!options.headers_only) check_values(parts[i], findings, run);
    report["files"].push_back(parts[i].about);
  }
  run.report(Stage::load, static_cast<int64_t>(parts.size()), static_cast<int64_t>(parts.size()));
  check_together(parts, options.release, findings, report);
  report["findings"] = findings.list();
  report["good"] = findings.good();
  return report.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ltxv
