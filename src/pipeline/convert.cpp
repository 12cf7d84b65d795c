#include "pipeline/convert.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "pipeline/config_json.h"
#include "pipeline/convert_adapters.h"
#include "pipeline/convert_tensors.h"
#include "pipeline/part_folder.h"
#include "pipeline/part_spec.h"
#include "pipeline/spec_files.h"
#include "weights/file_bytes.h"

namespace ltxv {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;
using Metadata = std::map<std::string, std::string>;

void write_text(const std::string& path, const std::string& content) {
  write_atomically(path, [&](const auto& write) { write(content.data(), content.size()); });
}
void write_json(const std::string& path, const json& content) { write_text(path, content.dump(2) + "\n"); }

/// One conversion: what was found, and what is written.
class Conversion {
 public:
  Conversion(const ConvertOptions& options, const RunHooks& hooks) : options_(options), dtype_(written_dtype(options.dtype)), run_(hooks) {
    read_parts();
    if (beside_) return;
    if (const auto parts = model_parts(set_, options.release)) {
      spec_ = load_model_spec(*parts);
      model_ = parts->model;
    }
  }

  std::string run() {
    const auto extension = fs::path(options_.output).extension().string();
    report_["output"] = options_.output;
    if (beside_) {
      write_beside(extension);
    } else if (extension == ".gguf") {
      to_gguf();
    } else if (extension == ".safetensors") {
      to_single_file();
    } else {
      refuse_extension(extension);
      to_folder();
    }
    report_["tensors"] = tensor_count_;
    report_["bytes"] = byte_count_;
    report_["left_out"] = left_out_;
    return report_.dump(-1, ' ', false, json::error_handler_t::replace);
  }

 private:
  void refuse_extension(const std::string& extension) const {
    for (const char* other : {".bin", ".pt", ".pth", ".ckpt", ".onnx", ".json"})
      LTXV_CHECK(extension != other, "'", printable(options_.output), "' is neither .safetensors, .gguf nor a folder");
  }

  // A LoRA or an upsampler.
  void write_beside(const std::string& extension) {
    const bool lora = beside_->is(FileKind::lora);
    auto written = lora ? lora_tensors(*beside_, lora_names(options_.names), dtype_, run_) : upsampler_tensors(*beside_, dtype_, run_);
    for (const StreamedTensor& tensor : written.tensors) byte_count_ += static_cast<int64_t>(stored_bytes(tensor));
    tensor_count_ = static_cast<int64_t>(written.tensors.size());
    report_["form"] = lora ? "LoRA" : extension == ".safetensors" ? "latent upsampler in one file" : "latent upsampler, diffusers' layout";
    if (written.text_encoder_tensors > 0) left_out_.push_back(text(beside_->path, ", ", written.text_encoder_tensors, " tensors for a text encoder"));
    if (extension == ".safetensors") {
      if (!lora) written.metadata = {{"config", upsampler_description(*beside_->upsampler, UpsamplerForm::original).dump()}};
      return save_safetensors(options_.output, std::move(written.tensors), written.metadata);
    }
    LTXV_CHECK(!lora && extension != ".gguf", printable(options_.output), ": a ", kind_words(beside_->file_kind), " is written as .safetensors",
               lora ? "" : " or as a folder");
    refuse_extension(extension);
    PartFolder out(options_.output);
    write_json(out.folder("") + "/config.json", upsampler_description(*beside_->upsampler, UpsamplerForm::diffusers));
    save_safetensors(out.folder("") + "/diffusion_pytorch_model.safetensors", std::move(written.tensors), {{"format", "pt"}});
    out.finish();
  }

  void read_parts() {
    LTXV_CHECK(!options_.paths.empty(), "no file to convert");
    LTXV_CHECK(!options_.output.empty(), "no output to convert to");
    for (const std::string& path : options_.paths)
      for (Part& part : identify(path, findings_)) parts_.push_back(std::move(part));
    for (const Part& part : parts_) {
      check_names(part, findings_);
      if (!part.is(FileKind::lora) && !part.is(FileKind::upsampler)) continue;
      LTXV_CHECK(parts_.size() == 1, printable(part.path), ": a ", kind_words(part.file_kind), " is converted by itself, not with other files");
      beside_ = &part;
    }
    for (const json& finding : findings_.list()) {
      if (finding["severity"] != "problem") continue;
      throw BadWeights(text(finding["path"].get<std::string>(), ": ", finding["message"].get<std::string>()));
    }
    LTXV_CHECK(options_.names.empty() || (beside_ && beside_->is(FileKind::lora)), "names ", options_.names, ": only of LoRA files");
    if (beside_) return;
    set_ = set_of(parts_, findings_);
    LTXV_CHECK(set_.transformer || set_.vae || set_.text, "nothing to convert: no transformer, VAE or text encoder was given");
  }

  std::vector<StreamedTensor> tensors(const Part& part, FileKind what, WrittenForm form, const std::string& prefix = "") {
    auto list = component_tensors(part, what, form, dtype_, prefix, run_);
    for (StreamedTensor& tensor : list) {
      ++tensor_count_;
      byte_count_ += static_cast<int64_t>(stored_bytes(tensor));
    }
    return list;
  }

  // Every tensor written is a unit of progress.
  void reported(std::vector<StreamedTensor>& list) {
    for (StreamedTensor& tensor : list)
      tensor.write = [this, write = std::move(tensor.write), total = static_cast<int64_t>(list.size())](const ByteSink& sink) {
        write(sink);
        run_.report(Stage::write, std::min(++written_, total), total);
      };
    written_ = 0;
  }
  void save_safetensors(const std::string& path, std::vector<StreamedTensor> list, const Metadata& metadata) {
    reported(list);
    stream_safetensors(path, std::move(list), metadata);
  }

  bool infers_causal(const VaeConfig& vae) const {
    ReleaseFacts facts;
    read_vae_facts(vae, facts);
    return facts.space_to_depth_encoder;
  }

  // Name, release and presets, where the files themselves have no place for them.
  json own_words() const {
    json own = own_description(model_);
    own["name"] = spec_->name;
    if (!spec_->release.empty() && options_.release.find(".json") == std::string::npos) own["release"] = spec_->release;
    return own;
  }

  Metadata embedded(bool with_transformer, bool with_vae) const {
    json config = json::object();
    if (with_transformer) {
      const auto& transformer = spec_ ? std::optional(spec_->transformer) : set_.transformer->transformer;
      if (transformer) config["transformer"] = transformer_to_original(*transformer);
      if (spec_ && with_vae) {
        config["scheduler"] = schedule_to_original(spec_->schedule);
      } else if (const auto own = Place(set_.transformer->path).embedded(); own.contains("scheduler")) {
        config["scheduler"] = own.at("scheduler");
      }
      if (const auto own = Place(set_.transformer->path).embedded(); own.contains("allowed_inference_steps"))
        config["allowed_inference_steps"] = own.at("allowed_inference_steps");
    }
    const auto& vae = spec_ ? std::optional(spec_->vae) : set_.vae ? set_.vae->vae : std::nullopt;
    if (with_vae && vae) config["vae"] = vae_to_original(*vae);
    Metadata metadata{{"config", config.dump()}};
    if (with_transformer && spec_) metadata["ltxv"] = own_words().dump();
    return metadata;
  }

  void leave_out(const Part* part) {
    if (part) left_out_.push_back(part->path);
  }

  void to_gguf() {
    report_["form"] = "GGUF";
    LTXV_CHECK(dtype_ != WrittenDtype::fp8, "dtype fp8_e4m3: GGUF files have no fp8; q8_0 has as few bits");
    const bool text_alone = !set_.transformer;
    LTXV_CHECK(!text_alone || set_.text, "a GGUF file holds a transformer or a text encoder; neither was given");
    Metadata metadata = text_alone ? Metadata{{"general.architecture", "t5encoder"}} : embedded(true, false);
    if (!text_alone) metadata["general.architecture"] = "ltxv";
    auto list = text_alone ? tensors(*set_.text, FileKind::text_encoder, WrittenForm::gguf)
                           : tensors(*set_.transformer, FileKind::transformer, WrittenForm::gguf);
    leave_out(set_.vae);
    if (!text_alone) leave_out(set_.text);
    leave_out(set_.tokenizer);
    reported(list);
    stream_gguf(options_.output, std::move(list), metadata);
  }

  void to_single_file() {
    LTXV_CHECK(dtype_ != WrittenDtype::q8_0, "dtype q8_0 is one of GGUF files; the output must end with .gguf");
    if (!set_.transformer && !set_.vae) {
      report_["form"] = "text encoder in one file";
      save_safetensors(options_.output, tensors(*set_.text, FileKind::text_encoder, WrittenForm::diffusers), {{"format", "pt"}});
      leave_out(set_.tokenizer);
      return;
    }
    report_["form"] = "original checkpoint in one file";
    std::vector<StreamedTensor> list;
    if (set_.transformer) list = tensors(*set_.transformer, FileKind::transformer, WrittenForm::original, "model.diffusion_model.");
    if (set_.vae)
      for (StreamedTensor& tensor : tensors(*set_.vae, FileKind::vae, WrittenForm::original, "vae.")) list.push_back(std::move(tensor));
    save_safetensors(options_.output, std::move(list), embedded(set_.transformer != nullptr, set_.vae != nullptr));
    leave_out(set_.text);
    leave_out(set_.tokenizer);
  }

  void write_transformer(const std::string& folder) {
    const auto& config = spec_ ? spec_->transformer : *set_.transformer->transformer;
    const bool inferred = spec_ && infers_causal(spec_->vae);
    write_json(folder + "/config.json", transformer_to_diffusers(config, inferred));
    save_safetensors(folder + "/diffusion_pytorch_model.safetensors", tensors(*set_.transformer, FileKind::transformer, WrittenForm::diffusers),
                     {{"format", "pt"}});
  }
  void write_vae(const std::string& folder) {
    write_json(folder + "/config.json", vae_to_diffusers(spec_ ? spec_->vae : *set_.vae->vae));
    save_safetensors(folder + "/diffusion_pytorch_model.safetensors", tensors(*set_.vae, FileKind::vae, WrittenForm::diffusers), {{"format", "pt"}});
  }
  void write_text_encoder(const std::string& folder) {
    write_json(folder + "/config.json", t5_to_transformers(*set_.text->text));
    save_safetensors(folder + "/model.safetensors", tensors(*set_.text, FileKind::text_encoder, WrittenForm::diffusers), {{"format", "pt"}});
  }
  void copy_tokenizer(const std::string& folder) {
    const fs::path from = fs::path(set_.tokenizer->path).parent_path();
    fs::copy_file(set_.tokenizer->path, fs::path(folder) / "spiece.model");
    for (const char* beside : {"tokenizer_config.json", "added_tokens.json", "special_tokens_map.json", "tokenizer.json"})
      if (fs::exists(from / beside)) fs::copy_file(from / beside, fs::path(folder) / beside);
  }

  void to_folder() {
    LTXV_CHECK(dtype_ != WrittenDtype::q8_0, "dtype q8_0 is one of GGUF files; the output must end with .gguf");
    const int given = (set_.transformer != nullptr) + (set_.vae != nullptr && set_.vae != set_.transformer) + (set_.text != nullptr);
    const bool whole = set_.transformer && set_.vae && set_.text && set_.tokenizer;
    LTXV_CHECK(whole || (given == 1 && !(set_.transformer && set_.transformer == set_.vae)),
               "a folder in diffusers' layout needs transformer, VAE, text encoder and tokenizer; missing: ", missing_words());
    LTXV_REQUIRE(Unsupported, whole || !set_.transformer || set_.transformer->transformer, printable(set_.transformer ? set_.transformer->path : ""),
                 ": its configuration is not known; --release names it");
    LTXV_CHECK(!whole || spec_, printable(set_.transformer->path), ": a component folder says nothing of its schedule; give the model's folder");
    PartFolder out(options_.output);
    report_["form"] = whole ? "diffusers' layout" : "component folder";
    if (!whole) {
      if (set_.transformer) write_transformer(out.folder(""));
      if (set_.vae) write_vae(out.folder(""));
      if (set_.text) write_text_encoder(out.folder(""));
      return out.finish();
    }
    write_transformer(out.folder("transformer"));
    write_vae(out.folder("vae"));
    write_text_encoder(out.folder("text_encoder"));
    copy_tokenizer(out.folder("tokenizer"));
    write_json(out.folder("scheduler") + "/scheduler_config.json", schedule_to_diffusers(spec_->schedule));
    const bool own_schedule = spec_->schedule.kind == ScheduleSpec::Kind::linear_quadratic;
    write_json(out.folder("") + "/model_index.json", {{"_class_name", own_schedule ? "LTXConditionPipeline" : "LTXPipeline"},
                                                       {"scheduler", {"diffusers", "FlowMatchEulerDiscreteScheduler"}},
                                                       {"text_encoder", {"transformers", "T5EncoderModel"}},
                                                       {"tokenizer", {"transformers", "T5Tokenizer"}},
                                                       {"transformer", {"diffusers", "LTXVideoTransformer3DModel"}},
                                                       {"vae", {"diffusers", "AutoencoderKLLTXVideo"}}});
    write_json(out.folder("") + "/ltxv.json", own_words());
    out.finish();
  }

  std::string missing_words() const {
    std::string words;
    for (const auto& [part, name] : {std::pair(set_.transformer, "transformer"), std::pair(set_.vae, "VAE"), std::pair(set_.text, "text encoder"),
                                     std::pair(set_.tokenizer, "tokenizer")})
      if (!part) words += text(words.empty() ? "" : ", ", name);
    return words;
  }

  const ConvertOptions& options_;
  WrittenDtype dtype_;
  RunContext run_;
  Findings findings_;
  std::vector<Part> parts_;
  PartSet set_;
  const Part* beside_ = nullptr;  // what is no part of a model: a LoRA or an upsampler
  std::optional<ModelSpec> spec_;
  std::string model_;  // what spec_ was loaded from
  json report_ = json::object(), left_out_ = json::array();
  int64_t tensor_count_ = 0, byte_count_ = 0, written_ = 0;
};

}  // namespace

std::string convert_files(const ConvertOptions& options, const RunHooks& hooks) {
  try {
    return Conversion(options, hooks).run();
  } catch (const fs::filesystem_error& error) {
    throw IoError(text(printable(error.path1().string()), ": ", error.code().message()));
  }
}

}  // namespace ltxv
