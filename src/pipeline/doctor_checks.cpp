// What can be said of one part by itself: names and shapes, scales, values.
#include <algorithm>
#include <cmath>

#include "pipeline/doctor_parts.h"
#include "text/t5_encoder.h"
#include "transformer/transformer.h"
#include "upscale/latent_upsampler.h"
#include "vae/video_vae.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"
#include "weights/value_scan.h"

namespace ltxv {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kScaleNames[] = {".scale_weight", ".weight_scale"};

bool is_fp8_type(StoredType type) { return type == StoredType::f8_e4m3 || type == StoredType::f8_e5m2; }

// The scale of a weight, in either spelling.
const TensorEntry* scale_of(const TensorSource& file, const std::string& weight) {
  constexpr std::string_view kEnd = ".weight";
  if (!weight.ends_with(kEnd)) return nullptr;
  for (const char* scale : kScaleNames)
    if (const TensorEntry* entry = file.find(weight.substr(0, weight.size() - kEnd.size()) + scale)) return entry;
  return nullptr;
}

bool is_scale(const std::string& name) {
  return std::any_of(std::begin(kScaleNames), std::end(kScaleNames), [&](const char* scale) { return name.ends_with(scale); });
}

bool has_scales(const TensorSource& file) {
  return std::any_of(file.entries().begin(), file.entries().end(), [](const TensorEntry& entry) {
    return is_scale(entry.name) || entry.name.ends_with("scaled_fp8") || entry.name.ends_with(".comfy_quant");
  });
}

// Tables are looked up, not multiplied; they go without a scale.
bool is_table(const std::string& name) {
  for (const char* table : {"shared.weight", "embed_tokens.weight", "relative_attention_bias.weight"})
    if (name.ends_with(table)) return true;
  return false;
}

void check_scales(const Part& part, Findings& findings) {
  if (!has_scales(*part.source)) return;
  std::vector<std::string> missing, bad;
  for (const TensorEntry& entry : part.source->entries()) {
    if (is_scale(entry.name)) {
      const at::Tensor values = to_tensor(entry, part.source).to(at::kFloat);
      if (!(values > 0).all().item<bool>()) bad.push_back(entry.name);
    } else if (is_fp8_type(entry.type) && entry.shape.size() == 2 && !is_table(entry.name) && !scale_of(*part.source, entry.name)) {
      missing.push_back(entry.name);
    }
  }
  if (!missing.empty())
    findings.problem(part.path, text("a file of scaled fp8 without the scales of ", missing.size(), " matrices: ", first_names(missing)));
  if (!bad.empty()) findings.problem(part.path, text(bad.size(), " scales are not above 0: ", first_names(bad)));
}

// Weights turned by a Hadamard matrix, as one early upload has them, work only with kernels that turn the inputs the same way. They
// carry no mark. What shows is that a turn makes all columns equally strong.
void check_turned(const Part& part, Findings& findings) {
  constexpr int64_t kLeast = 1024;  // rows and columns: below, chance alone is uneven
  constexpr double kEven = 0.03;    // chance at 4096 rows: 0.011
  if (!part.has_transformer() || !is_fp8(*part.source)) return;
  double most = 0;
  int64_t looked_at = 0;
  for (const TensorEntry& entry : part.source->entries()) {
    if (looked_at == 4) break;
    if (!is_fp8_type(entry.type) || !entry.name.ends_with("attn1.to_q.weight") || entry.shape.size() != 2) continue;
    if (entry.shape[0] < kLeast || entry.shape[1] < kLeast) continue;
    most = std::max(most, column_unevenness(entry));
    ++looked_at;
  }
  if (looked_at == 0 || most > kEven) return;
  findings.warning(part.path, text("the columns of its fp8 matrices are equally strong to ", std::round(most * 1000) / 10,
                                   " %, as in weights rotated for a special kernel (the first upload of ltxv-13b-0.9.7-dev-fp8, "
                                   "6 May 2025): if the video is noise, download the file again"));
}

template <class Build>
void build(const Part& part, const KeyMap& names, const char* component, Findings& findings, const Build& make) {
  try {
    Parameters parameters(part.source, names, at::kFloat, component, nullptr, Reading::names);
    make(parameters);
  } catch (const Error& error) {
    findings.problem(part.path, error.what());
  }
}

// "4 tensors", "1 tensor".
std::string counted(size_t count) { return text(count, count == 1 ? " tensor" : " tensors"); }

}  // namespace

std::string first_names(const std::vector<std::string>& names) {
  constexpr size_t kListed = 3;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kListed); ++i) list.append(i == 0 ? "'" : ", '").append(printable(names[i])).append("'");
  return names.size() > kListed ? text(list, " and ", names.size() - kListed, " more") : list;
}

void check_names(const Part& part, Findings& findings) {
  if (part.kind != Part::Kind::tensors) return;
  check_scales(part, findings);
  const int64_t problems = findings.problem_count();
  if (part.transformer)
    build(part, part.transformer_names, "transformer", findings, [&](Parameters& p) { Transformer(*part.transformer, p); });
  if (part.vae) {
    build(part, part.vae_encoder_names, "vae", findings, [&](Parameters& p) { VideoVae(*part.vae, p, VaeParts::encoder); });
    // One file, one fault: the halves share what both would complain about.
    if (findings.problem_count() == problems)
      build(part, part.vae_decoder_names, "vae", findings, [&](Parameters& p) { VideoVae(*part.vae, p, VaeParts::decoder); });
  }
  if (part.text) build(part, part.text_names, "text encoder", findings, [&](Parameters& p) { T5Encoder(*part.text, p); });
  if (part.upsampler) build(part, {}, "latent upsampler", findings, [&](Parameters& p) { LatentUpsampler(*part.upsampler, p); });
}

void check_values(Part& part, Findings& findings, const RunContext& run) {
  if (part.kind != Part::Kind::tensors) return;
  std::vector<std::string> nan, inf, beyond, beyond_f32, zero;
  int64_t nan_count = 0, inf_count = 0, matrices = 0;
  double largest = 0;
  std::string largest_name;
  for (const TensorEntry& entry : part.source->entries()) {
    const ValueScan scan = scan_values(entry, run);
    if (scan.nan_count > 0) nan.push_back(entry.name), nan_count += scan.nan_count;
    if (scan.inf_count > 0) inf.push_back(entry.name), inf_count += scan.inf_count;
    if (scan.beyond_fp32) beyond_f32.push_back(entry.name);
    const TensorEntry* const scale = is_narrow_type(entry.type) ? scale_of(*part.source, entry.name) : nullptr;
    const double factor = scale ? to_tensor(*scale, part.source).to(at::kFloat).abs().max().item<double>() : 1.0;
    // Inside its own type a value is never too large; what a scale makes of it may be.
    if (scan.beyond_fp16 > 0 || scan.largest * factor > 65504) beyond.push_back(entry.name);
    if (scan.largest * factor > largest) largest = scan.largest * factor, largest_name = entry.name;
    if (scan.count > 0 && entry.shape.size() >= 2) ++matrices;
    if (scan.all_zero() && entry.shape.size() >= 2) zero.push_back(entry.name);
  }
  part.about["values"] = {{"largest", largest},
                          {"largest_in", largest_name},
                          {"nan_tensors", nan.size()},
                          {"inf_tensors", inf.size()},
                          {"zero_tensors", zero.size()}};
  if (!nan.empty()) findings.problem(part.path, text(nan_count, " NaN in ", counted(nan.size()), ": ", first_names(nan)));
  if (!inf.empty()) findings.problem(part.path, text(inf_count, " infinite values in ", counted(inf.size()), ": ", first_names(inf)));
  if (!beyond_f32.empty())
    findings.problem(part.path, text("values beyond what fp32 holds, in ", counted(beyond_f32.size()), ": ", first_names(beyond_f32)));
  const bool lora = part.is(FileKind::lora);
  if (!zero.empty() && static_cast<int64_t>(zero.size()) == matrices)
    findings.problem(part.path, text("every matrix is 0: the file was written but not filled"));
  else if (!zero.empty() && !lora)
    findings.warning(part.path, text(counted(zero.size()), " with nothing but zeros: ", first_names(zero)));

  check_turned(part, findings);
  if (!part.transformer && !part.vae && !part.text && !part.upsampler) return;
  std::string fp16 = "good";
  if (!beyond.empty()) fp16 = text("overflows in ", counted(beyond.size()));
  if (part.text) fp16 = "overflows: sums inside T5 exceed 65504";
  const std::string wide = beyond_f32.empty() ? "good" : "overflows";
  part.about["compute"] = {{"fp32", wide}, {"bf16", wide}, {"fp16", fp16}};
  if (!beyond.empty())
    findings.warning(part.path, text("values beyond 65504 in ", counted(beyond.size()), ": ", first_names(beyond),
                                     "; computing in fp16 overflows, bf16 and fp32 hold them"));
}

void Findings::add(const char* severity, const std::string& path, std::string message) {
  // Errors name their file in front; here it stands apart.
  if (!path.empty() && message.starts_with(path + ": ")) message.erase(0, path.size() + 2);
  if (std::string_view(severity) == "problem") ++problem_count_;
  list_.push_back({{"severity", severity}, {"path", path}, {"message", message}});
}

}  // namespace ltxv
