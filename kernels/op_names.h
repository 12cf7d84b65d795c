#pragma once
#include <array>
#include <string_view>

namespace ltxv::ops {
/// All ops that LTXV_KERNELS may pin and describe() lists.
inline constexpr std::array<std::string_view, 14> kOpNames = {"attention",   "qk_norm_rope", "rms_norm_modulate", "add_gated", "gated_norm_modulate",
                                                              "guided_step", "gelu_tanh",    "vae_norm",          "depth_to_space", "conv3d",
                                                              "quantise_rows", "norm_quantise", "quant_linear", "attention_int8"};
}  // namespace ltxv::ops
