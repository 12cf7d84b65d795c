#pragma once
// What a file of tensors is, by the names inside. Torch-free.
#include "weights/tensor_source.h"

namespace ltxv {

enum class FileKind {
  checkpoint,  ///< transformer and VAE
  transformer,
  vae,
  text_encoder,
  lora,
  upsampler,
  other_family,  ///< LTX-2
  frames,
  latents,
  embeddings,
  noise,
  unknown
};

FileKind kind_of(const TensorSource& source);
/// "LTX-Video transformer", ... for people.
const char* kind_words(FileKind kind);

/// Most of the bytes are fp8.
bool is_fp8(const TensorSource& file);

}  // namespace ltxv
