#pragma once
// The launchers of each unit, as plugin.cpp puts them into its table.
#include "launchers.h"

namespace ltxv::ops::gpu {

int launch_attention_mma(const AttentionLaunch* launch);    // attention/attention_mma.cu
int launch_attention_wgmma(const AttentionLaunch* launch);  // attention/sm90/attention_wgmma.cu
int launch_qk_norm_rope(const QkNormRopeLaunch* launch);    // qk_norm_rope/qk_norm_rope.cu
int launch_norm_modulate(const NormModulateLaunch* launch);  // adaln/norm_modulate.cu
int launch_vae_norm(const VaeNormLaunch* launch);            // vae_norm/vae_norm.cu
int launch_depth_to_space(const DepthToSpaceLaunch* launch);  // vae_norm/depth_to_space.cu
int launch_add_bias(const AddBiasLaunch* launch);              // conv3d/add_bias.cu
int launch_guided_step(const GuidedStepLaunch* launch);       // guided_step/guided_step.cu
int launch_quantise_rows(const QuantiseRowsLaunch* launch);   // quant_linear/quantise_rows.cu
int launch_attention_int8(const AttentionInt8Launch* launch);  // attention_int8/attention_int8.cu
int launch_attention_int8_wgmma(const AttentionInt8Launch* launch);  // attention_int8/sm90/attention_int8_wgmma.cu

}  // namespace ltxv::ops::gpu
