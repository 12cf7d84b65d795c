#pragma once
// Reads VAE configurations, and derives the tensor names that go with them. Torch-free.
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "vae/vae_config.h"
#include "weights/key_map.h"

namespace ltxv {

struct VaeConfigAndNames {
  VaeConfig config;
  KeyMap names;  ///< names in the file -> canonical (original) names
};

/// Reads the `vae` object of a single-file checkpoint's metadata. The decoder's list in the file runs from pixels to latents and
/// is reversed here. Every width is computed from the base widths and the multipliers.
/// Errors: BadWeights (malformed, absurd or inconsistent values), Unsupported (unknown keys, values this library does not
/// compute); each names `where` and the key.
/// Source: ltx_video/models/autoencoders/causal_video_autoencoder.py, from_config, Encoder, Decoder.
VaeConfig vae_config_from_original(const nlohmann::json& vae, const std::string& where);

/// Canonical names out of a single-file checkpoint or a VAE saved alone, with or without the "vae." prefix; names of other
/// components, of the unused statistics and of the half not asked for are dropped.
KeyMap original_vae_names(VaeParts parts = VaeParts::both);

/// Reads the config.json of a diffusers AutoencoderKLLTXVideo and derives the renaming by walking the same structure.
/// Errors: as above.
/// Source: diffusers/models/autoencoders/autoencoder_kl_ltx.py, LTXVideoEncoder3d and LTXVideoDecoder3d.
VaeConfigAndNames vae_config_from_diffusers(const nlohmann::json& config, const std::string& where,
                                            VaeParts parts = VaeParts::both);

}  // namespace ltxv
