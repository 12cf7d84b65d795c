#pragma once
// Component configurations back to JSON, in the two forms that files carry. Each is read again before it is returned, and must say the
// same: a configuration that a form cannot express is an error, never an approximation. Torch-free.
#include <nlohmann/json_fwd.hpp>

#include "pipeline/model_spec.h"

namespace ltxv {

/// The object "transformer" of a checkpoint's metadata. Errors: Unsupported.
nlohmann::ordered_json transformer_to_original(const TransformerConfig& config);
/// transformer/config.json of diffusers; `inferred_causal` is what a reader would take for the coordinate rule without being told.
nlohmann::ordered_json transformer_to_diffusers(const TransformerConfig& config, bool inferred_causal);

/// The object "vae". Errors: Unsupported.
nlohmann::ordered_json vae_to_original(const VaeConfig& config);
/// vae/config.json of diffusers. Errors: Unsupported for block lists that AutoencoderKLLTXVideo does not have.
nlohmann::ordered_json vae_to_diffusers(const VaeConfig& config);

/// Canonical names of its tensors -> those of diffusers. Errors: as vae_to_diffusers.
KeyMap vae_diffusers_spelling(const VaeConfig& config);

/// The object "scheduler". Errors: Unsupported for numbers that are fixed in this form.
nlohmann::ordered_json schedule_to_original(const ScheduleSpec& schedule);
/// scheduler/scheduler_config.json.
nlohmann::ordered_json schedule_to_diffusers(const ScheduleSpec& schedule);

/// text_encoder/config.json of transformers.
nlohmann::ordered_json t5_to_transformers(const T5Config& config);

}  // namespace ltxv
