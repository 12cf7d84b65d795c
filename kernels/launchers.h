#pragma once
// What crosses into the CUDA plug-in (lib/libltxv_cuda.so): plain structs and one table of C functions. No torch and no CUDA header,
// so that a .cu file never sees ATen and the library never needs a CUDA toolkit. Strides count elements, not bytes. All pointers are
// device memory of the current device. `stream` is a cudaStream_t. Every launcher returns a cudaError_t as int (0 = launched), runs
// asynchronously and checks nothing that the ops' acceptance checks have checked: kernels/*/ say what each kernel asks for.
#include <cstdint>

namespace ltxv::ops::gpu {

/// Both sides must agree; raised with every change in this file.
inline constexpr uint32_t kCudaPluginVersion = 3;

enum class Element : int32_t { f32 = 0, bf16 = 1, e4m3 = 2 };

/// softmax(q k^T * scale) v for every head, not causal. Head h of a row starts at element h * head_dim.
/// Asks for: bf16; head_dim 64 or 128; base pointers and every stride a multiple of 16 bytes.
struct AttentionLaunch {
  const void *q, *k, *v;  ///< bf16, e.g. three column ranges of one packed [B,N,3D]
  void* out;              ///< bf16, e.g. [B,N,D]
  int32_t batch, heads, head_dim;
  int32_t q_length, k_length;
  int64_t q_batch_stride, q_row_stride;
  int64_t k_batch_stride, k_row_stride;
  int64_t v_batch_stride, v_row_stride;
  int64_t out_batch_stride, out_row_stride;
  const int32_t* k_lengths;  ///< [batch]: keys in use, at most k_length; or nullptr. 0 keys give a row of zeros.
  float scale;
  void* stream;
};

/// RMS norm over the whole width with a learned weight, then rotary positions on adjacent pairs, in place, for one or two matrices
/// of the same tokens (queries and keys). Row r belongs to token r % tokens.
/// Asks for: f32 or bf16; width a multiple of 8 and at most 8192; base pointers and row_stride multiples of 16 bytes.
struct QkNormRopeLaunch {
  Element type;             ///< of x and weight
  int32_t count;            ///< 1 or 2
  void* x[2];               ///< [rows, width], rows row_stride apart
  const void* weight[2];    ///< [width]
  int64_t row_stride;
  int32_t rows, tokens, width;
  /// Full tables [tokens, width/2]; or, with table_rows, separable ones [R, width/6]; or nullptr: the norm alone.
  const float *cos, *sin;
  /// [tokens,3] rows of the separable tables for time, row and column; nullptr: full tables. With K = width/6 the first
  /// (width - 6K)/2 pairs are not turned; pair 3k + axis behind them takes entry k of the axis's row.
  const int32_t* table_rows;
  float eps;
  void* stream;
};

/// x += gate * update, stored; then out = rms_norm(x) * (1 + scale) + shift of what was stored. Either half may be left out.
/// Row r belongs to token r % tokens; its row in each table is index[token], or 0.
/// Asks for: f32 or bf16; width a multiple of 8 and at most 8192; x, update, out contiguous rows, 16-byte aligned; tables 16-byte
/// aligned with table_stride a multiple of 4.
struct NormModulateLaunch {
  Element type;         ///< of x and update
  Element out_type;     ///< type, or e4m3 with row_scale
  void* x;              ///< [rows, width]; written only with `update`
  const void* update;   ///< [rows, width] or nullptr: x stays
  const float* gate;    ///< nullptr: 1
  void* out;            ///< [rows, width] or nullptr: no norm
  float* row_scale;     ///< [rows] with e4m3: out value times row_scale is the result; largest magnitude becomes 448
  const float *scale, *shift;
  int64_t table_stride;  ///< of gate, scale and shift
  const int64_t* index;  ///< [tokens] or nullptr
  int32_t rows, tokens, width;
  float eps;
  void* stream;
};

/// SiLU(x * rsqrt(mean over channels of x^2 + eps) * (1 + scale) + shift) over a volume [B,T,H,W,C], first and last frame repeated.
/// Asks for: f32 or bf16; channels a multiple of 8 and at most 2048; 16-byte aligned pointers.
struct VaeNormLaunch {
  Element type;
  const void* x;               ///< [B,T,H,W,C]
  void* out;                   ///< [B,front+T+back,H,W,C]
  const float *shift, *scale;  ///< [B,C] or both nullptr
  int32_t batch, frames, channels;
  int64_t positions;     ///< H*W
  int32_t front, back;   ///< copies of the first and of the last frame
  float eps;
  void* stream;
};

/// Channels (c,t,h,w) of each position become st*sh*sw positions; the residual's, repeated, are added in the store.
/// Asks for: f32 or bf16; channels and residual_channels multiples of 8; st*sh*sw 1, 2, 4 or 8; channels * st*sh*sw at most 8192.
struct DepthToSpaceLaunch {
  Element type;
  const void* y;         ///< [B,T,H,W,C*P], P = st*sh*sw
  const void* residual;  ///< [B,T,H,W,R*P] or nullptr; channel c takes channel c % R
  void* out;             ///< [B,T*st-dropped,H*sh,W*sw,C]
  int32_t batch, frames, height, width, channels, residual_channels;
  int32_t st, sh, sw;
  int32_t dropped;  ///< frames left out at the start, 0 to st-1
  void* stream;
};

/// y += bias + residual, rounded once: the end of a convolution whose product is cuDNN's.
/// Asks for: f32 or bf16, one type for all; channels a multiple of 8; base pointers multiples of 16 bytes; count at most 2^42.
struct AddBiasLaunch {
  Element type;
  void* y;               ///< [count / channels, channels]
  const void* bias;      ///< [channels]
  const void* residual;  ///< as y, or nullptr
  int64_t count;
  int32_t channels;
  void* stream;
};

/// One guided Euler step: the predictions become one velocity as in src/diffusion/guidance.h, and tokens += step * velocity.
/// Asks for: predictions f32 or bf16, all of one type; width = channels of a token.
struct GuidedStepLaunch {
  Element type;            ///< of the predictions
  float* tokens;           ///< [tokens_count, width], updated; nullptr: only the velocity
  float* velocity;         ///< [tokens_count, width] or nullptr
  const void* positive;
  const void* negative;    ///< nullptr: no classifier-free guidance
  const void* perturbed;   ///< nullptr: no spatio-temporal guidance
  int64_t token_count;
  int32_t width;
  float scale, cfg_rescale, stg_scale, stg_rescale;  ///< cfg_rescale 0 and stg_rescale 1: off
  int32_t cfg_star;                                  ///< 1: project the negative prediction on the positive one
  float step;                                        ///< sigma_next - sigma
  const float* token_step;                           ///< [token_count] instead of `step`; or nullptr
  double* workspace;                                 ///< kGuidedStepWorkspace doubles
  void* stream;
};
inline constexpr int32_t kGuidedStepWorkspace = 128 * 9;

/// x, or its GELU (tanh form), as e4m3 with a scale for each row: largest magnitude becomes 448.
/// Asks for: f32 or bf16; width a multiple of 8 and at most kMaxQuantWidth; x and codes contiguous rows, 16-byte aligned.
struct QuantiseRowsLaunch {
  Element type;   ///< of x
  const void* x;  ///< [rows, width]
  void* codes;    ///< [rows, width] bytes
  float* scales;  ///< [rows]
  int32_t rows, width;
  int32_t gelu;
  void* stream;
};
inline constexpr int32_t kMaxQuantWidth = 16384;

/// The same attention in eight bits (attention_int8/attention_int8.h), in three launches.
/// Asks for: what AttentionLaunch asks for, k_lengths nullptr, at least one key; lengths at most 2^31 - 129.
struct AttentionInt8Launch {
  AttentionLaunch attention;
  void* workspace;  ///< int8_workspace().bytes of attention_int8/layout.h, 16-byte aligned
  void* stream;
};

struct CudaDevice {
  int32_t major, minor;  ///< compute capability
  int32_t multiprocessors;
  int32_t shared_memory_per_block;  ///< bytes, with opt-in
  int64_t memory;                   ///< bytes
  char name[96];
};

/// One kernel of the plug-in on one architecture it holds machine code for.
struct CudaKernelInfo {
  const char* op;       ///< "attention"
  const char* variant;  ///< "cuda_mma"
  int32_t arch;         ///< 80, 86, 89, 90 …: major * 10 + minor
  const char* hash;     ///< SHA-256 of that machine code, hexadecimal
  int32_t verified;     ///< 1: docs/gpu/ holds a record of this hash on this architecture
};

/// A launcher is nullptr where the plug-in was built without it.
struct CudaKernelTable {
  uint32_t version;      ///< kCudaPluginVersion
  uint32_t struct_size;  ///< sizeof(CudaKernelTable)
  int (*device_count)(int* count);
  int (*device)(int index, CudaDevice* out);
  const char* (*error_text)(int error);
  int (*attention_mma)(const AttentionLaunch*);     ///< sm_80 and newer
  int (*attention_wgmma)(const AttentionLaunch*);   ///< sm_90a only
  int (*qk_norm_rope)(const QkNormRopeLaunch*);
  int (*norm_modulate)(const NormModulateLaunch*);
  int (*vae_norm)(const VaeNormLaunch*);
  int (*depth_to_space)(const DepthToSpaceLaunch*);
  int (*add_bias)(const AddBiasLaunch*);
  int (*guided_step)(const GuidedStepLaunch*);
  int (*quantise_rows)(const QuantiseRowsLaunch*);
  int (*attention_int8)(const AttentionInt8Launch*);        ///< sm_89 and newer
  int (*attention_int8_wgmma)(const AttentionInt8Launch*);  ///< sm_90a only, heads of 128
  const CudaKernelInfo* kernels;
  int32_t kernel_count;
};

}  // namespace ltxv::ops::gpu

/// The plug-in's only exported function. nullptr when it was built for another version.
extern "C" const ltxv::ops::gpu::CudaKernelTable* ltxv_cuda_plugin(uint32_t version);
