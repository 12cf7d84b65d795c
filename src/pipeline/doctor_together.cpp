// Whether parts belong together, and what a complete set still needs.
#include <cmath>
#include <filesystem>

#include "pipeline/doctor_parts.h"
#include "pipeline/spec_files.h"
#include "weights/weight_changes.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

// The later one wins only where it replaces a model's own.
void choose(const Part*& slot, const Part& part, const char* what, Findings& findings) {
  if (slot == nullptr || slot->inside_model || (slot->is(FileKind::checkpoint) && !part.is(FileKind::checkpoint))) {
    slot = &part;
  } else if (!part.inside_model) {
    findings.note(part.path, text("a second ", what, ": only ", slot->path, " is compared with the other parts"));
  }
}

// Largest difference of two latent spaces' statistics, as a share of the deviation of the channel.
double difference(const Part& a, const Part& b) {
  double most = 0;
  for (size_t i = 0; i < a.latent_mean.size(); ++i) {
    const double deviation = std::max(std::abs(a.latent_deviation[i]), 1e-12f);
    most = std::max({most, std::abs(a.latent_mean[i] - b.latent_mean[i]) / deviation,
                     std::abs(a.latent_deviation[i] - b.latent_deviation[i]) / deviation});
  }
  return most;
}

// A transformer knows the latent space of the VAE it was trained with; where a model's own VAE and another one are given, the per-channel
// statistics tell whether the spaces are the same.
void compare_vaes(const std::vector<Part>& parts, const PartSet& set, Findings& findings) {
  constexpr double kRounding = 0.02;  // bf16 keeps 1 / 256 of a number
  const Part* first = nullptr;
  for (const Part& part : parts) {
    if (!part.has_vae() || part.latent_mean.empty() || part.latent_deviation.size() != part.latent_mean.size()) continue;
    if (!first) {
      first = &part;
      continue;
    }
    if (part.latent_mean.size() != first->latent_mean.size()) {
      findings.problem(part.path, text("a VAE of ", part.latent_mean.size(), " latent channels, ", first->path, " has ", first->latent_mean.size()));
      continue;
    }
    const double most = difference(*first, part);
    const auto message = text("per-channel statistics ", most <= kRounding ? "equal those of " : "differ from those of ", first->path);
    const bool replaces = set.vae == &part && (first->inside_model || first->is(FileKind::checkpoint));
    if (most <= kRounding) {
      findings.note(part.path, message);
    } else if (replaces) {
      findings.problem(part.path, text(message, " by up to ", std::round(most * 100) / 100,
                                       " deviations: its transformer does not know this latent space"));
    } else {
      findings.note(part.path, text(message, " by up to ", std::round(most * 100) / 100, " deviations: not interchangeable"));
    }
  }
}

void compare_widths(const PartSet& set, Findings& findings) {
  if (set.transformer && set.vae && !set.vae->latent_mean.empty() && set.transformer->latent_channels > 0 &&
      static_cast<int64_t>(set.vae->latent_mean.size()) != set.transformer->latent_channels)
    findings.problem(set.vae->path, text("a VAE of ", set.vae->latent_mean.size(), " latent channels does not fit the transformer's ",
                                         set.transformer->latent_channels, " (", set.transformer->path, ")"));
  if (set.transformer && set.text && set.text->text && set.transformer->caption_width != set.text->text->width)
    findings.problem(set.text->path, text("a text encoder of width ", set.text->text->width, " does not fit the transformer's caption width ",
                                          set.transformer->caption_width, " (", set.transformer->path, ")"));
  if (set.text && set.tokenizer && set.text->text && set.tokenizer->piece_count > set.text->text->vocabulary)
    findings.problem(set.tokenizer->path, text(set.tokenizer->piece_count, " pieces do not fit the text encoder's vocabulary of ",
                                               set.text->text->vocabulary, " (", set.text->path, ")"));
  for (const Part* upsampler : set.upsamplers) {
    if (!upsampler->upsampler || !set.vae || set.vae->latent_mean.empty()) continue;
    if (upsampler->upsampler->channels != static_cast<int64_t>(set.vae->latent_mean.size()))
      findings.problem(upsampler->path, text("an upsampler of ", upsampler->upsampler->channels, " latent channels does not fit the VAE's ",
                                             set.vae->latent_mean.size(), " (", set.vae->path, ")"));
    else if (set.vae->about["vae"]["generation"] != "ltxv-0.9.5+" && set.vae->latent_mean.size() == 128)
      findings.warning(upsampler->path, text("upsamplers were published for the VAE of 0.9.5 and later; ", set.vae->path, " is of ",
                                             set.vae->about["vae"]["generation"].get<std::string>()));
  }
}

void check_loras(const PartSet& set, Findings& findings) {
  for (const Part* lora : set.loras) {
    if (!set.transformer) {
      findings.note(lora->path, "give the transformer too, to see whether its keys match");
      continue;
    }
    WeightShapes shapes;
    for (const TensorEntry& entry : set.transformer->source->entries())
      if (const auto name = set.transformer->transformer_names.apply(entry.name); !name.empty()) shapes[name] = entry.shape;
    try {
      const WeightChanges changes({{lora->path, 1}}, shapes, diffusers_transformer_spelling(), FileAccess::map);
      for (const std::string& remark : changes.remarks()) findings.warning(lora->path, remark);
      findings.note(lora->path, text("every key matches: ", changes.size(), " weights of ", set.transformer->path, " are changed"));
    } catch (const NumericError&) {
      // Said with the values of the file.
    } catch (const Error& error) {
      findings.problem(lora->path, error.what());
    }
  }
}

void list_missing(const PartSet& set, const ModelSpec* spec, Findings& findings, json& report) {
  if (!set.transformer) return;
  json missing = json::array();
  const auto need = [&](const char* part, const std::string& download) {
    missing.push_back({{"part", part}, {"download", download}});
    findings.warning(set.transformer->path, text("to generate, a ", part, " is needed too: ", download));
  };
  const bool published = set.transformer->latent_channels == 128 && set.transformer->caption_width == 4096;
  const std::string own = "the one it was trained with";
  if (!set.vae)
    need("VAE", !published                                 ? own
                : set.transformer->about.value("size", "") == "13B" ? "vae/ of huggingface.co/Lightricks/LTX-Video-0.9.8-13B-distilled"
                                                           : "vae/ of huggingface.co/Lightricks/LTX-Video (0.9.0), LTX-Video-0.9.1 or "
                                                             "LTX-Video-0.9.5 (0.9.5 to 0.9.8)");
  // A checkpoint finds text parts in folders beside it.
  const bool text_found = set.text || (spec && !spec->text_files.path.empty());
  if (!text_found)
    need("text encoder", published ? "t5xxl_fp16.safetensors of huggingface.co/comfyanonymous/flux_text_encoders (9.8 GB), its "
                                     "t5xxl_fp8_e4m3fn_scaled.safetensors (about half), or text_encoder/ of "
                                     "huggingface.co/PixArt-alpha/PixArt-XL-2-1024-MS"
                                   : own);
  if (!set.tokenizer && !(spec && !spec->tokenizer_path.empty()))
    need("tokenizer", published ? "tokenizer/ of huggingface.co/PixArt-alpha/PixArt-XL-2-1024-MS (0.8 MB)" : own);
  report["missing"] = missing;
}

}  // namespace

PartSet set_of(const std::vector<Part>& parts, Findings& findings) {
  PartSet set;
  for (const Part& part : parts) {
    if (part.kind == Part::Kind::model_folder) {
      if (!set.folder) set.folder = &part;
      continue;
    }
    if (part.kind == Part::Kind::tokenizer) choose(set.tokenizer, part, "tokenizer", findings);
    if (part.is(FileKind::checkpoint)) {
      choose(set.transformer, part, "checkpoint", findings);
      if (!set.vae) set.vae = &part;
    }
    if (part.is(FileKind::transformer)) choose(set.transformer, part, "transformer", findings);
    if (part.is(FileKind::vae)) choose(set.vae, part, "VAE", findings);
    if (part.is(FileKind::text_encoder)) choose(set.text, part, "text encoder", findings);
    if (part.is(FileKind::lora)) set.loras.push_back(&part);
    if (part.is(FileKind::upsampler)) set.upsamplers.push_back(&part);
  }
  return set;
}

std::optional<ModelParts> model_parts(const PartSet& set, const std::string& release) {
  if (!set.folder && (!set.transformer || !set.vae)) return std::nullopt;
  if (!set.folder && fs::is_directory(set.transformer->path)) return std::nullopt;  // its model says what belongs to it
  const auto apart = [](const Part* part) { return part && !part->inside_model ? part->path : std::string(); };
  ModelParts parts;
  parts.release = release;
  parts.text_encoder = apart(set.text);
  parts.tokenizer = apart(set.tokenizer);
  parts.vae = apart(set.vae);
  parts.model = set.folder ? set.folder->path : set.transformer->path;
  if (set.folder) parts.transformer = apart(set.transformer);
  if (set.vae == set.transformer) parts.vae.clear();
  for (const Part* upsampler : set.upsamplers) parts.upscalers.push_back(upsampler->path);
  return parts;
}

void check_together(const std::vector<Part>& parts, const std::string& release, Findings& findings, json& report) {
  const PartSet set = set_of(parts, findings);
  compare_widths(set, findings);
  compare_vaes(parts, set, findings);
  check_loras(set, findings);
  std::optional<ModelSpec> spec;
  // What is wrong with a part would only be said again.
  if (const auto model = model_parts(set, release); model && findings.good()) {
    try {
      spec = load_model_spec(*model);
      for (const std::string& remark : spec->remarks) findings.warning("", remark);
      json& together = report["together"];
      together["release"] = spec->release;
      together["transformer"] = spec->transformer_files.path;
      together["vae"] = spec->vae_files.path;
      if (!spec->text_files.path.empty()) together["text_encoder"] = spec->text_files.path;
      if (!spec->tokenizer_path.empty()) together["tokenizer"] = spec->tokenizer_path;
    } catch (const Error& error) {
      findings.problem("", error.what());
    }
  }
  list_missing(set, spec ? &*spec : nullptr, findings, report);
}

}  // namespace ltxv
