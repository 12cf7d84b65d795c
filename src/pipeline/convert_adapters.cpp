#include "pipeline/convert_adapters.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "pipeline/spec_files.h"
#include "weights/file_bytes.h"
#include "weights/lora_file.h"
#include "weights/retype.h"

namespace ltxv {
namespace {

using json = nlohmann::ordered_json;

StoredType wide_type(const TensorEntry& entry, WrittenDtype dtype, const Part& part) {
  switch (dtype) {
    case WrittenDtype::stored: return entry.type;
    case WrittenDtype::f32: return StoredType::f32;
    case WrittenDtype::bf16: return StoredType::bf16;
    case WrittenDtype::f16: return StoredType::f16;
    default: break;
  }
  throw InvalidArgument(text(printable(part.path), ": a ", kind_words(part.file_kind), " is written as fp32, bf16 or fp16"));
}

StreamedTensor streamed(const Part& part, const TensorEntry& entry, std::string name, StoredType type, double factor, const RunContext& run) {
  const auto factors = factor == 1 ? at::Tensor() : at::full({1}, factor, at::kFloat);
  return {std::move(name), type, entry.shape, [&run, entry, factors, type, keep = part.source](const ByteSink& sink) {
            run.check_cancelled();
            write_as(entry, factors, type, sink);
          }};
}

StreamedTensor one_number(std::string name, double value) {
  return {std::move(name), StoredType::f32, {}, [number = static_cast<float>(value)](const ByteSink& sink) { sink(&number, sizeof number); }};
}

// Every module of a transformer with this many blocks. A LoRA is renamed without the model it is for.
std::vector<std::string> transformer_module_names(int64_t blocks) {
  std::vector<std::string> names = {"scale_shift_table"};
  const auto add = [&](const std::string& path) { names.insert(names.end(), {path + ".weight", path + ".bias"}); };
  for (const char* path : {"patchify_proj", "proj_out", "adaln_single.linear", "adaln_single.emb.timestep_embedder.linear_1",
                           "adaln_single.emb.timestep_embedder.linear_2", "caption_projection.linear_1", "caption_projection.linear_2"})
    add(path);
  for (int64_t i = 0; i < blocks; ++i) {
    const std::string block = text("transformer_blocks.", i, ".");
    names.push_back(block + "scale_shift_table");
    for (const char* attention : {"attn1.", "attn2."}) {
      for (const char* layer : {"to_q", "to_k", "to_v", "to_out.0"}) add(block + attention + layer);
      for (const char* norm : {"q_norm.weight", "k_norm.weight"}) names.push_back(block + attention + norm);
    }
    for (const char* layer : {"ff.net.0.proj", "ff.net.2"}) add(block + layer);
  }
  return names;
}

// 1 + the largest block that a module of the file names, with dots or underscores.
int64_t block_count(const LoraFile& file) {
  constexpr std::string_view kBlocks = "transformer_blocks";
  constexpr int64_t kMostBlocks = 1024;
  int64_t count = 0;
  for (const LoraModule& module : file.modules) {
    const size_t at = module.path.find(kBlocks);
    if (at == std::string::npos || at + kBlocks.size() + 1 >= module.path.size()) continue;
    int64_t index = -1;
    const char* digits = module.path.data() + at + kBlocks.size() + 1;
    std::from_chars(digits, module.path.data() + module.path.size(), index);
    if (index < kMostBlocks) count = std::max(count, index + 1);
  }
  return count;
}

// What one naming calls the tensors of a module.
struct Spelling {
  std::string path, down, up, up_bias, weight, bias, alpha;  // an empty ending: there is none
};

Spelling spell(const std::string& canonical, LoraNames names, const KeyMap& diffusers) {
  if (names == LoraNames::diffusers) return {"transformer." + diffusers.apply(canonical), ".lora_A.weight", ".lora_B.weight", ".lora_B.bias", "", "", ""};
  if (names == LoraNames::comfyui) return {"diffusion_model." + canonical, ".lora_A.weight", ".lora_B.weight", "", ".diff", ".diff_b", ".alpha"};
  std::string flat = "lora_unet_" + canonical;
  std::replace(flat.begin(), flat.end(), '.', '_');
  return {flat, ".lora_down.weight", ".lora_up.weight", "", ".diff", ".diff_b", ".alpha"};
}

}  // namespace

LoraNames lora_names(const std::string& name) {
  if (name.empty()) return LoraNames::stored;
  if (name == "diffusers" || name == "peft") return LoraNames::diffusers;
  if (name == "comfyui") return LoraNames::comfyui;
  if (name == "kohya") return LoraNames::kohya;
  throw InvalidArgument(text("names \"", name, "\" are not one of diffusers (peft), comfyui, kohya"));
}

AdapterTensors lora_tensors(const Part& part, LoraNames names, WrittenDtype dtype, const RunContext& run) {
  const LoraFile file = read_lora(part.source);
  AdapterTensors out{.tensors = {}, .metadata = part.source->metadata()};
  LTXV_REQUIRE(BadWeights, file.unknown.empty(), printable(part.path), ": no part of a LoRA: ", first_names(file.unknown));
  if (names == LoraNames::stored) {
    for (const TensorEntry& entry : part.source->entries()) {
      const bool alpha = entry.name.ends_with(".alpha");
      out.tensors.push_back(streamed(part, entry, entry.name, alpha ? entry.type : wide_type(entry, dtype, part), 1, run));
    }
    return out;
  }
  out.text_encoder_tensors = file.text_encoder_tensors;
  out.metadata.erase("lora_adapter_metadata");  // its alphas are multiplied in, or stand beside the matrices
  const KeyMap diffusers = diffusers_transformer_spelling();
  const ModuleNames modules(transformer_module_names(block_count(file)), diffusers);
  std::vector<std::string> unmatched;
  for (const LoraModule& module : file.modules) {
    const ModuleNames::Target* target = modules.find(module.path);
    if (!target) {
      unmatched.push_back(module.path);
      continue;
    }
    const std::string& known = target->weight.empty() ? target->bias : target->weight;
    const std::string ending = target->weight.empty() ? ".bias" : ".weight";
    const Spelling s = spell(known.ends_with(ending) ? known.substr(0, known.size() - ending.size()) : known, names, diffusers);
    const auto add = [&](const TensorEntry* entry, const std::string& tail, double factor) {
      if (!entry) return;
      LTXV_REQUIRE(Unsupported, !tail.empty(), printable(part.path), ": LoRA tensor '", printable(entry->name), "' has no place in the names of ",
                   names == LoraNames::diffusers ? "diffusers" : "these programs");
      out.tensors.push_back(streamed(part, *entry, s.path + tail, wide_type(*entry, dtype, part), factor, run));
    };
    const bool folded = s.alpha.empty();
    add(module.down, s.down, 1);
    add(module.up, s.up, folded ? module.scale : 1);
    add(module.up_bias, s.up_bias, folded ? module.scale : 1);
    add(module.weight, s.weight, 1);
    add(module.bias, s.bias, 1);
    if (module.down && !folded && (names == LoraNames::kohya || module.scale != 1))
      out.tensors.push_back(one_number(s.path + s.alpha, module.scale * static_cast<double>(module.down->shape[0])));
  }
  LTXV_REQUIRE(BadWeights, unmatched.empty(), printable(part.path), ": LoRA keys that match nothing in an LTX-Video transformer: ",
               first_names(unmatched));
  return out;
}

AdapterTensors upsampler_tensors(const Part& part, WrittenDtype dtype, const RunContext& run) {
  AdapterTensors out;
  for (const TensorEntry& entry : part.source->entries())
    out.tensors.push_back(streamed(part, entry, entry.name, wide_type(entry, dtype, part), 1, run));
  return out;
}

json upsampler_description(const UpsamplerConfig& c, UpsamplerForm form) {
  return {{"_class_name", form == UpsamplerForm::diffusers ? "LTXLatentUpsamplerModel" : "LatentUpsampler"},
          {"in_channels", c.channels},
          {"mid_channels", c.width},
          {"num_blocks_per_stage", c.blocks_a_stage},
          {"dims", c.per_frame ? 2 : 3},
          {"spatial_upsample", c.spatial},
          {"temporal_upsample", c.temporal}};
}

}  // namespace ltxv
