#pragma once
// LoRA files: which of their tensors belong together, and which weight of a model they mean. Torch-free.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/key_map.h"
#include "weights/tensor_source.h"

namespace ltxv {

/// What a file says about one module. Entries belong to the source; absent ones are null.
struct LoraModule {
  std::string path;                      ///< as the file spells it, without the ending of its tensors
  const TensorEntry* down = nullptr;     ///< [rank,in]
  const TensorEntry* up = nullptr;       ///< [out,rank]
  const TensorEntry* up_bias = nullptr;  ///< [out], scaled as the product up x down
  const TensorEntry* weight = nullptr;   ///< added as it is (`.diff`)
  const TensorEntry* bias = nullptr;     ///< added as it is (`.diff_b`)
  double scale = 1;                      ///< of up x down: alpha / rank where the file states an alpha
};

struct LoraFile {
  std::shared_ptr<const TensorSource> source;
  std::vector<LoraModule> modules;
  std::vector<std::string> unknown;         ///< names that are no part of a LoRA
  int64_t text_encoder_tensors = 0;         ///< left out: this library adapts the transformer only
  int64_t reference_downscale = 1;          ///< the control clip is this many times smaller (`reference_downscale_factor`)
};

/// Sorts the tensors of a file into modules. Endings: `.lora_A/.lora_B` (PEFT, diffusers, ComfyUI; with or without an adapter's
/// name), `.lora_down/.lora_up` (kohya), `.lora.down/.lora.up` (older diffusers), `.alpha`, `.diff`, `.diff_b`. Without an alpha the
/// scale is 1, or what diffusers' `lora_adapter_metadata` says.
/// Errors: BadWeights (half a pair, shapes that do not go together, an alpha that is no number), NumericError (NaN or Inf),
///         Unsupported naming a tensor of another method (DoRA, LoKr, LoHa, OFT, ...).
LoraFile read_lora(std::shared_ptr<const TensorSource> source);

/// The weights of a model under every name a LoRA may give their modules.
class ModuleNames {
 public:
  struct Target {
    std::string weight, bias;  ///< canonical names; the bias empty where there is none
  };

  /// `canonical`: names of all weights. `other_spelling`: canonical names to those of the other common layout.
  ModuleNames(const std::vector<std::string>& canonical, const KeyMap& other_spelling);

  /// The module that `path` means: with any of the usual prefixes or none, with dots or (kohya) underscores. Null when there is none.
  const Target* find(std::string_view path) const;

 private:
  std::map<std::string, Target, std::less<>> dotted_, flat_;
};

}  // namespace ltxv
