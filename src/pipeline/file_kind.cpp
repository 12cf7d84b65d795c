#include "pipeline/file_kind.h"

namespace ltxv {

FileKind kind_of(const TensorSource& source) {
  const auto has = [&](std::string_view part) {
    for (const TensorEntry& entry : source.entries())
      if (entry.name.find(part) != std::string::npos) return true;
    return false;
  };
  const auto ends = [&](std::string_view ending) {
    for (const TensorEntry& entry : source.entries())
      if (entry.name.ends_with(ending)) return true;
    return false;
  };
  if (has("audio_")) return FileKind::other_family;
  if (has(".lora_") || has(".lora.") || ends(".diff") || ends(".diff_b")) return FileKind::lora;
  if (has("post_upsample_res_blocks")) return FileKind::upsampler;
  const bool transformer = has("patchify_proj") || has("proj_in"), vae = has("per_channel_statistics") || has("latents_mean");
  if (transformer && vae) return FileKind::checkpoint;
  if (transformer) return FileKind::transformer;
  if (vae) return FileKind::vae;
  if (has("SelfAttention.relative_attention_bias") || has("attn_rel_b")) return FileKind::text_encoder;
  if (source.find("frames")) return FileKind::frames;
  if (source.find("latents")) return FileKind::latents;
  if (source.find("prompt_embeds")) return FileKind::embeddings;
  if (source.find("initial")) return FileKind::noise;
  return FileKind::unknown;
}

const char* kind_words(FileKind kind) {
  switch (kind) {
    case FileKind::checkpoint: return "LTX-Video checkpoint in one file (transformer and VAE)";
    case FileKind::transformer: return "LTX-Video transformer";
    case FileKind::vae: return "LTX-Video VAE";
    case FileKind::text_encoder: return "T5 text encoder";
    case FileKind::lora: return "LoRA";
    case FileKind::upsampler: return "LTX-Video latent upsampler";
    case FileKind::other_family: return "an LTX-2 checkpoint (not supported; LTX-Video 0.9.x is)";
    case FileKind::frames: return "frames";
    case FileKind::latents: return "latents";
    case FileKind::embeddings: return "prompt embeddings";
    case FileKind::noise: return "noise draws";
    case FileKind::unknown: break;
  }
  return "tensors of an unknown kind";
}

bool is_fp8(const TensorSource& file) {
  uint64_t fp8 = 0, all = 0;
  for (const TensorEntry& entry : file.entries()) {
    all += entry.byte_count;
    if (entry.type == StoredType::f8_e4m3 || entry.type == StoredType::f8_e5m2) fp8 += entry.byte_count;
  }
  return fp8 > all / 2;
}

}  // namespace ltxv
