#pragma once
// Model files written in another form.
#include <string>
#include <vector>

#include "base/run_context.h"

namespace ltxv {

struct ConvertOptions {
  std::vector<std::string> paths;  ///< a model folder, or a checkpoint, or parts apart; bundled names
  std::string release;             ///< of files that do not describe themselves; empty: found out
  std::string output;              ///< *.safetensors, *.gguf, or a folder to be made
  std::string dtype;               ///< "" as stored, "fp32", "bf16", "fp16", "fp8_e4m3" (with scales), "q8_0" (GGUF only)
  std::string names;               ///< of a LoRA: "diffusers" (or "peft"), "comfyui", "kohya"; "" as stored
};

/// Writes the parts in the form the output's name asks for:
///   folder        a complete model: diffusers' layout; one part alone: its component folder
///   .safetensors  transformer and VAE, or one of them, in the names of the original checkpoints with the configuration in the
///                 metadata; a text encoder alone in transformers' names
///   .gguf         the transformer in original names, or a text encoder alone in llama.cpp's
/// A LoRA alone becomes a .safetensors file in the names asked for; a latent upsampler alone a .safetensors file with its description, or
/// a folder in diffusers' layout.
/// Tensors are read, converted and written piece by piece. What is written is complete or absent; a folder that is there and not empty
/// is refused. Returns one JSON object: output, form, tensors, bytes, and `left_out`, the parts this form has no place for.
/// Errors: InvalidArgument (parts that make nothing, an unknown dtype, a LoRA), IoError, BadWeights, Unsupported (a configuration the form
/// cannot express), NumericError (a value the new dtype does not hold), Cancelled.
std::string convert_files(const ConvertOptions& options, const RunHooks& hooks = {});

}  // namespace ltxv
