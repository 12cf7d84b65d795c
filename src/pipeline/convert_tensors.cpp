#include "pipeline/convert_tensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "pipeline/config_json.h"
#include "pipeline/spec_files.h"
#include "vae/vae_config_json.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"
#include "weights/retype.h"
#include "weights/tensor_io.h"
#include "weights/value_scan.h"

namespace ltxv {
namespace {

constexpr float kLargestFp8 = 448;
constexpr std::string_view kWeight = ".weight";

bool is_fp8(StoredType type) { return type == StoredType::f8_e4m3 || type == StoredType::f8_e5m2; }
bool is_floating(StoredType type) { return is_narrow_type(type) || at::isFloatingType(scalar_type(type)); }

// What goes with fp8 weights and has no meaning by itself.
bool belongs_to_fp8(const std::string& name) {
  if (name.ends_with("scaled_fp8") || name.ends_with(".comfy_quant")) return true;
  for (const char* scale : {".scale_weight", ".weight_scale", ".scale_input", ".input_scale"})
    if (name.ends_with(scale)) return true;
  return false;
}

// Matrices of the layers that make up nearly all of a model; everything else stays wide.
bool is_large_matrix(const std::string& name, const TensorEntry& entry, FileKind what) {
  if (entry.shape.size() != 2 || !name.ends_with(kWeight)) return false;
  if (what == FileKind::transformer) return name.starts_with("transformer_blocks.");
  return what == FileKind::text_encoder && name.starts_with("encoder.block.") && name.find("relative_attention_bias") == std::string::npos;
}

// Read as f32 whatever the compute dtype: rounding them would be a loss without a gain.
bool is_kept_wide(const std::string& name) {
  for (const char* part : {"per_channel_statistics.", "scale_shift_table", "timestep_scale_multiplier", "relative_attention_bias"})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

StoredType target_type(const std::string& name, const TensorEntry& entry, FileKind what, WrittenForm form, WrittenDtype dtype) {
  if (!is_floating(entry.type)) return entry.type;
  const bool gguf = form == WrittenForm::gguf;
  // A type the form does not have is widened: exactly from fp8 without scales, nearly so from blocks.
  const bool writable = gguf ? !is_fp8(entry.type) : !is_block_type(entry.type);
  const StoredType stored = writable ? entry.type : StoredType::bf16;
  const bool wide = entry.type == StoredType::f64 || entry.type == StoredType::f32;
  switch (dtype) {
    case WrittenDtype::stored: return stored;
    case WrittenDtype::f32: return StoredType::f32;
    case WrittenDtype::bf16: return wide && is_kept_wide(name) ? StoredType::f32 : StoredType::bf16;
    case WrittenDtype::f16: return wide && is_kept_wide(name) ? StoredType::f32 : StoredType::f16;
    default: break;
  }
  if (is_large_matrix(name, entry, what)) {
    if (dtype == WrittenDtype::fp8) return StoredType::f8_e4m3;
    if (entry.shape[1] % stored_block(StoredType::q8_0).elements == 0) return StoredType::q8_0;
  }
  if (wide && is_kept_wide(name)) return StoredType::f32;
  return wide || is_narrow_type(entry.type) ? StoredType::bf16 : entry.type;
}

at::Tensor scales_of(const Part& part, const std::string& weight) {
  if (!weight.ends_with(kWeight)) return {};
  const std::string layer = weight.substr(0, weight.size() - kWeight.size());
  for (const char* scale : {".scale_weight", ".weight_scale"})
    if (const TensorEntry* entry = part.source->find(layer + scale)) return to_tensor(*entry, part.source).to(at::kFloat).flatten().contiguous();
  return {};
}

// Canonical names -> those of the form.
KeyMap spelling(const Part& part, FileKind what, WrittenForm form) {
  if (what == FileKind::transformer && form == WrittenForm::diffusers) return diffusers_transformer_spelling();
  if (what == FileKind::text_encoder && form == WrittenForm::gguf) return t5_gguf_spelling();
  if (what == FileKind::vae && form == WrittenForm::diffusers) return vae_diffusers_spelling(*part.vae);
  return {};
}

// What a reader of the form makes of them.
KeyMap reading(const Part& part, FileKind what, WrittenForm form) {
  if (what == FileKind::transformer && form == WrittenForm::diffusers) return diffusers_transformer_names();
  if (what == FileKind::text_encoder && form == WrittenForm::gguf) return t5_names();
  if (what == FileKind::vae && form == WrittenForm::diffusers) return vae_config_from_diffusers(vae_to_diffusers(*part.vae), "converted vae").names;
  return {};
}

std::string canonical_name(const Part& part, FileKind what, const std::string& name) {
  if (what == FileKind::transformer) return part.transformer_names.apply(name);
  if (what == FileKind::text_encoder) return part.text_names.apply(name);
  const auto encoder = part.vae_encoder_names.apply(name);
  return encoder.empty() ? part.vae_decoder_names.apply(name) : encoder;
}

StreamedTensor constant(std::string name, StoredType type, std::vector<int64_t> shape, const at::Tensor& values) {
  return {std::move(name), type, std::move(shape), [values](const ByteSink& sink) {
            if (values.numel() > 0) sink(values.const_data_ptr(), values.nbytes());
          }};
}

}  // namespace

WrittenDtype written_dtype(const std::string& name) {
  if (name.empty()) return WrittenDtype::stored;
  if (name == "fp32") return WrittenDtype::f32;
  if (name == "bf16") return WrittenDtype::bf16;
  if (name == "fp16") return WrittenDtype::f16;
  if (name == "fp8_e4m3") return WrittenDtype::fp8;
  if (name == "q8_0") return WrittenDtype::q8_0;
  throw InvalidArgument(text("dtype \"", name, "\" is not one of fp32, bf16, fp16, fp8_e4m3, q8_0"));
}

std::vector<StreamedTensor> component_tensors(const Part& part, FileKind what, WrittenForm form, WrittenDtype dtype, const std::string& prefix,
                                              const RunContext& run) {
  const KeyMap names = spelling(part, what, form), back = reading(part, what, form);
  const bool has_shared = what == FileKind::text_encoder && std::any_of(part.source->entries().begin(), part.source->entries().end(), [&](const auto& e) {
                            return part.text_names.apply(e.name) == "shared.weight";
                          });
  std::vector<StreamedTensor> tensors;
  bool scaled = false;
  for (const TensorEntry& entry : part.source->entries()) {
    std::string name = canonical_name(part, what, entry.name);
    if (name.empty() || belongs_to_fp8(name)) continue;
    if (what == FileKind::text_encoder && !has_shared && name == "encoder.embed_tokens.weight") name = "shared.weight";
    const StoredType type = target_type(name, entry, what, form, dtype);
    at::Tensor factors = scales_of(part, entry.name);
    LTXV_ASSERT(back.apply(names.apply(name)) == name, "'", name, "' would be read again as '", back.apply(names.apply(name)), "'");
    const std::string written = prefix + names.apply(name);
    if (is_fp8(type) && (factors.defined() || (dtype == WrittenDtype::fp8 && is_large_matrix(name, entry, what)))) {
      at::Tensor scale = factors;
      if (type == entry.type) {
        factors = at::Tensor();  // the codes as they are
        if (!scale.defined()) scale = at::ones({1});
      } else {
        double largest = scan_values(entry, run).largest;
        if (factors.defined()) largest *= factors.max().item<double>();
        scale = at::full({1}, largest > 0 ? largest / kLargestFp8 : 1.0, at::kFloat);
        factors = factors.defined() ? factors / scale : at::reciprocal(scale);
      }
      scaled = true;
      const std::string layer = written.substr(0, written.size() - kWeight.size());
      const bool one = scale.numel() == 1;
      tensors.push_back(constant(layer + ".scale_weight", StoredType::f32, one ? std::vector<int64_t>{} : std::vector<int64_t>{scale.numel()}, scale));
    }
    tensors.push_back({written, type, entry.shape, [&run, entry, factors, type, keep = part.source](const ByteSink& sink) {
                         run.check_cancelled();
                         write_as(entry, factors, type, sink);
                       }});
  }
  if (scaled) tensors.push_back(constant(prefix + "scaled_fp8", StoredType::f8_e4m3, {0}, at::empty({0})));
  return tensors;
}

}  // namespace ltxv
