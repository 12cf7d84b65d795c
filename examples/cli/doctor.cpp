// `ltxv doctor`: the library's findings, readable or as JSON lines.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "commands.h"

namespace cli {
namespace {

using nlohmann::ordered_json;

/// "BF16 98 %, F32 2 %", the largest share first.
std::string dtypes_text(const ordered_json& dtypes) {
  double all = 0;
  std::vector<std::pair<double, std::string>> shares;
  for (const auto& [name, count] : dtypes.items()) {
    all += count.get<double>();
    shares.emplace_back(count.get<double>(), name);
  }
  std::sort(shares.rbegin(), shares.rend());
  std::string text;
  for (const auto& [count, name] : shares) {
    text += (text.empty() ? "" : ", ") + name;
    const int percent = static_cast<int>(100 * count / std::max(all, 1.0) + 0.5);
    if (shares.size() > 1) text += percent == 0 ? " below 1 %" : " " + std::to_string(percent) + " %";
  }
  return text;
}

/// "width 2048, blocks 28" of an object of numbers and words; false flags are left out.
std::string facts_text(const ordered_json& facts) {
  std::string text;
  for (const auto& [key, value] : facts.items()) {
    if (value.is_boolean() && !value.get<bool>()) continue;
    std::string words = key;
    std::replace(words.begin(), words.end(), '_', ' ');
    if (!value.is_boolean()) words += " " + (value.is_string() ? value.get<std::string>() : value.dump());
    text += (text.empty() ? "" : ", ") + words;
  }
  return text;
}

void append_findings(const ordered_json& report, const std::string& path, std::string& out) {
  for (const ordered_json& finding : report["findings"])
    if (finding["path"] == path) out += "  " + finding["severity"].get<std::string>() + ": " + finding["message"].get<std::string>() + "\n";
}

std::string part_text(const ordered_json& part) {
  std::string out = part["path"].get<std::string>() + "\n  " + part["kind"].get<std::string>();
  if (part.contains("size")) out += ", " + part["size"].get<std::string>();
  out += "\n";
  if (part.contains("tensors"))
    out += "  " + std::to_string(part["tensors"].get<int64_t>()) + " tensors, " + short_count(part["parameters"].get<double>(), "") +
           " parameters, " + short_count(part["bytes"].get<double>(), "B") + ": " + dtypes_text(part["dtypes"]) + "\n";
  for (const char* key : {"transformer", "vae", "text_encoder", "lora", "upsampler"})
    if (part.contains(key)) out += "  " + std::string(key) + ": " + facts_text(part[key]) + "\n";
  if (part.contains("pieces")) out += "  pieces " + part["pieces"].dump() + "\n";
  if (part.contains("values")) {
    const ordered_json& values = part["values"];
    out += "  values: largest " + number_text(values["largest"].get<double>()) + " in " + values["largest_in"].get<std::string>() + "\n";
  }
  if (part.contains("compute")) out += "  compute: " + facts_text(part["compute"]) + "\n";
  return out;
}

std::string count_text(int64_t count, const char* what) { return std::to_string(count) + " " + what + (count == 1 ? "" : "s"); }

std::string report_text(const ordered_json& report) {
  std::string out;
  std::vector<std::string> shown;
  for (const ordered_json& part : report["files"]) {
    const auto path = part["path"].get<std::string>();
    out += part_text(part);
    append_findings(report, path, out);
    shown.push_back(path);
  }
  // What could not be opened is no part.
  for (const ordered_json& finding : report["findings"]) {
    const auto path = finding["path"].get<std::string>();
    if (path.empty() || std::find(shown.begin(), shown.end(), path) != shown.end()) continue;
    out += path + "\n";
    append_findings(report, path, out);
    shown.push_back(path);
  }
  std::string together;
  if (report.contains("together"))
    for (const auto& [key, value] : report["together"].items()) together += "  " + key + ": " + value.get<std::string>() + "\n";
  append_findings(report, "", together);
  if (!together.empty()) out += "together\n" + together;
  return out;
}

/// The same of CUDA: devices, or why there is none; one line an op.
std::string cuda_text(const ordered_json& cuda) {
  std::string out;
  const auto& devices = cuda["devices"];
  for (size_t i = 0; i < devices.size(); ++i) {
    const ordered_json& device = devices[i];
    out += "cuda:" + std::to_string(i) + " is " + device["name"].get<std::string>() + ", sm_" + device["capability"].get<std::string>() + ", " +
           short_count(device["memory_bytes"].get<double>(), "B") + "\n";
  }
  const auto missing = cuda["missing"].get<std::string>();
  if (!missing.empty()) return out + "no CUDA: " + missing + "\n";
  out += cuda["versions"].get<std::string>() + "\n";
  for (const auto& [op, choice] : cuda["kernel_choices"].items())
    out += op + " on cuda:0: " + choice["variant"].get<std::string>() + " (" + choice["why"].get<std::string>() + ")\n";
  return out;
}

/// One line an op: what runs, why, and what else there is.
void run_kernels(Reporter& reporter) {
  const auto build = ordered_json::parse(ltxv::describe(), nullptr, /*allow_exceptions=*/false);
  ordered_json result{{"event", "result"}};
  std::string out;
  for (const char* key : {"cpu_capability", "cpu", "threads", "devices", "cuda", "kernels", "kernel_choices"})
    if (build.contains(key)) result[key] = build[key];
  if (build.contains("cpu_capability")) out += "LibTorch computes with " + build["cpu_capability"].get<std::string>() + "\n";
  if (build.contains("cpu") && build["cpu"].is_object()) {
    std::string features;
    for (const auto& [name, has] : build["cpu"].items()) features += (features.empty() ? "" : ", ") + name + (has == true ? " yes" : " no");
    out += "this processor has " + features + "\n";
  }
  const ordered_json choices = build.value("kernel_choices", ordered_json::object());
  if (choices.is_string()) throw ltxv::error(LTXV_INVALID_ARGUMENT, choices.get<std::string>());
  for (const auto& [op, choice] : choices.items()) {
    std::string variants;
    for (const auto& variant : choice["variants"]) variants += (variants.empty() ? "" : ", ") + variant.get<std::string>();
    out += op + ": " + build["kernels"].value(op, "") + " (" + choice["why"].get<std::string>() + " of " + variants + ")\n";
  }
  if (build.contains("cuda")) out += cuda_text(build["cuda"]);
  if (!out.empty()) out.pop_back();
  reporter.result(out, result);
}

}  // namespace

void run_doctor(const Options& options, Reporter& reporter, const ltxv::cancel_token& cancel) {
  if (options.kernels) return run_kernels(reporter);
  const auto check = [&] {
    try {
      return ltxv::check_files({.paths = options.inputs, .release = options.engine.release, .headers_only = options.headers_only},
                               reporter.hooks(cancel));
    } catch (const ltxv::error& e) {
      if (e.code() == LTXV_INVALID_ARGUMENT) throw UsageError(options.command, e.what());
      throw;
    }
  };
  const auto report = ordered_json::parse(check());
  int64_t problems = 0, warnings = 0;
  for (const ordered_json& finding : report["findings"]) {
    problems += finding["severity"] == "problem";
    warnings += finding["severity"] == "warning";
  }
  // As JSON every part and every finding is a line of its own; as text they are one report.
  ordered_json result{{"event", "result"}, {"good", report["good"]}, {"problems", problems}, {"warnings", warnings}};
  for (const char* key : {"together", "missing"})
    if (report.contains(key)) result[key] = report[key];
  if (reporter.is_json()) {
    for (const char* list : {"files", "findings"})
      for (const ordered_json& item : report[list]) {
        ordered_json line{{"event", std::string(list) == "files" ? "file" : "finding"}};
        line.update(item);
        reporter.result("", line);
      }
  }
  reporter.result(report_text(report) + (problems == 0 ? "good" : count_text(problems, "problem")) +
                      (warnings > 0 ? ", " + count_text(warnings, "warning") : ""),
                  result);
  if (problems > 0) throw ltxv::error(LTXV_BAD_WEIGHTS, count_text(problems, "problem") + " found");
}

}  // namespace cli
