#pragma once
// The pieces load_model_spec() is made of; each reads one kind of file. Torch-free.
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "pipeline/model_spec.h"
#include "weights/tensor_source.h"

namespace ltxv {

class ConfigObject;

/// Errors: Unsupported naming the tensor, when the file is a transformer of LTX-2.
void refuse_other_families(const TensorSource& source);

/// A JSON file of at most 4 MiB. Errors: IoError, BadWeights (malformed, nested too deeply).
nlohmann::json read_json_file(const std::string& path);

/// The numbers that both forms of a transformer's configuration write under the same keys, checked.
/// Errors: BadWeights, Unsupported naming the file and the key.
TransformerConfig read_transformer_numbers(ConfigObject& object);

/// transformer/config.json of a diffusers folder. Errors: BadWeights, Unsupported naming `where` and the key.
TransformerConfig transformer_config_from_diffusers(const nlohmann::json& config, const std::string& where, bool* states_causal);
/// diffusers names -> canonical ones.
KeyMap diffusers_transformer_names();
/// The reverse: canonical names -> those of diffusers.
KeyMap diffusers_transformer_spelling();

/// The "transformer" object of a single-file checkpoint's metadata. Errors: as above.
TransformerConfig transformer_config_from_original(const nlohmann::json& config, const std::string& where, bool* states_causal);
/// Its "scheduler" object. Errors: as above.
ScheduleSpec schedule_from_original(const nlohmann::json& config, const std::string& where);
/// The JSON in a file's metadata: "transformer", "vae", "scheduler" and "allowed_inference_steps", each of which may be absent; an
/// empty object when there is none. Errors: BadWeights.
nlohmann::json embedded_config(const TensorSource& file);
/// Canonical names out of a single file, with or without the prefixes tools write; other components' tensors are dropped.
KeyMap original_transformer_names();

/// A T5 encoder saved as one file has no config: its numbers follow from the shapes. Errors: BadWeights naming the tensor.
T5Config t5_config_from_tensors(const TensorSource& file);
/// Canonical names (those of transformers) out of one file, in any spelling tools write, llama.cpp's included.
KeyMap t5_names();

/// The reverse for GGUF: canonical names -> llama.cpp's.
KeyMap t5_gguf_spelling();

/// text_encoder/config.json. Errors: as above.
T5Config t5_config_from_transformers(const nlohmann::json& config, const std::string& where);

/// A latent upsampler: a diffusers folder (or one that holds latent_upsampler/), or a file with or without its description; what is
/// stated must agree with the shapes. Headers only.   Errors: IoError, BadWeights, Unsupported naming the file and the key or tensor.
UpsamplerPart load_upsampler_spec(const std::string& path);

/// scheduler/scheduler_config.json. Errors: as above.
ScheduleSpec schedule_from_diffusers(const nlohmann::json& config, const std::string& where);

/// What a model made for this library says of itself, in ltxv.json beside model_index.json or in "ltxv" of a file's metadata: `name`,
/// `preset`, `release`, each of which may be absent. An empty object when there is none. Errors: BadWeights.
nlohmann::json own_description(const std::string& model);

/// One entry of a "presets" list, on top of `base`. Errors: as above.
Preset preset_from_json(const nlohmann::json& json, const std::string& where, Preset base);
/// Every preset by name, as a person reads it: what it says of sizes, steps and guidance, block lists as the option takes them.
nlohmann::ordered_json describe_presets(const ModelSpec& spec);

}  // namespace ltxv
