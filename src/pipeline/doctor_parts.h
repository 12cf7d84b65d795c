#pragma once
// The pieces check_files() is made of.
#include <nlohmann/json.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/run_context.h"
#include "pipeline/file_kind.h"
#include "pipeline/model_spec.h"
#include "pipeline/release.h"
#include "upscale/upsampler_config.h"
#include "weights/tensor_source.h"

namespace ltxv {

class Findings {
 public:
  void problem(const std::string& path, const std::string& message) { add("problem", path, message); }
  void warning(const std::string& path, const std::string& message) { add("warning", path, message); }
  void note(const std::string& path, const std::string& message) { add("note", path, message); }
  bool good() const { return problem_count_ == 0; }
  int64_t problem_count() const { return problem_count_; }
  const nlohmann::ordered_json& list() const { return list_; }

 private:
  void add(const char* severity, const std::string& path, std::string message);
  nlohmann::ordered_json list_ = nlohmann::ordered_json::array();
  int64_t problem_count_ = 0;
};

/// One folder or file, and what its names, shapes and description say. Numbers are 0 where they do not apply.
struct Part {
  enum class Kind { tensors, tokenizer, model_folder };
  std::string path;
  Kind kind = Kind::tensors;
  FileKind file_kind = FileKind::unknown;         ///< of Kind::tensors
  bool inside_model = false;                      ///< a component of a model folder that was given
  std::shared_ptr<const TensorSource> source;     ///< null unless Kind::tensors
  nlohmann::ordered_json about;                   ///< its entry in the report

  std::optional<TransformerConfig> transformer;
  KeyMap transformer_names;
  int64_t latent_channels = 0, caption_width = 0; ///< of a transformer, by its shapes
  std::optional<VaeConfig> vae;
  KeyMap vae_encoder_names, vae_decoder_names;
  std::vector<float> latent_mean, latent_deviation;
  std::optional<T5Config> text;
  KeyMap text_names;
  std::optional<UpsamplerConfig> upsampler;
  int64_t piece_count = 0;                        ///< of a tokenizer

  bool is(FileKind wanted) const { return kind == Kind::tensors && file_kind == wanted; }
  bool has_transformer() const { return is(FileKind::transformer) || is(FileKind::checkpoint); }
  bool has_vae() const { return is(FileKind::vae) || is(FileKind::checkpoint); }
};

/// What lies at a path: one part, or the folder and every component of a model folder. What cannot be read, and what does not fit its own
/// description, becomes findings.
std::vector<Part> identify(const std::string& path, Findings& findings);

/// Builds the component without its values: every tensor there, of the right shape and type, none left over; fp8 scales complete.
void check_names(const Part& part, Findings& findings);
/// Reads every value: NaN, Inf, the range, which compute dtype it fits. Fills `values` and `compute` of part.about.
void check_values(Part& part, Findings& findings, const RunContext& run);

/// The parts of one model: of each kind the one given apart, else the model's own. A checkpoint is both transformer and VAE.
struct PartSet {
  const Part *folder = nullptr, *transformer = nullptr, *vae = nullptr, *text = nullptr, *tokenizer = nullptr;
  std::vector<const Part*> loras, upsamplers;
};
/// Points into `parts`. Notes parts that another one of the same kind leaves unused.
PartSet set_of(const std::vector<Part>& parts, Findings& findings);
/// The parts as load_model_spec() takes them; nothing when they make no model.
std::optional<ModelParts> model_parts(const PartSet& set, const std::string& release);

/// Whether the parts belong together, and what is missing. Fills `together` and `missing` of `report`.
void check_together(const std::vector<Part>& parts, const std::string& release, Findings& findings, nlohmann::ordered_json& report);

/// The first three of many names, for a message: "'a', 'b', 'c' and 7 more".
std::string first_names(const std::vector<std::string>& names);

}  // namespace ltxv
