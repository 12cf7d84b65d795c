#pragma once
// Loops of the video VAE on CPUs over volumes stored [B,T,H,W,C] without gaps: POD arguments, no torch. One source
// (vae_rows.inl) is compiled once per instruction set; callers pick by registry.h cpu_features(). Channel counts are multiples
// of kVaeLanes.
#include <cstdint>

namespace ltxv::ops::cpu {

inline constexpr int64_t kVaeLanes = 16;

struct VaeNormArgs {
  bool bf16;           ///< x and out; f32 otherwise
  const void* x;       ///< [B,T,H,W,C]
  void* out;           ///< [B,front+T+back,H,W,C]
  const float* shift;  ///< [B,C] or nullptr
  const float* scale;
  int64_t frames, positions, channels;  ///< T, H*W, C
  int64_t front, back;                  ///< copies of the first and the last frame
  float eps;
};

struct DepthToSpaceArgs {
  bool bf16;
  const void* y;         ///< [B,T,H,W,C*P], P = st*sh*sw
  const void* residual;  ///< [B,T,H,W,R*P] or nullptr; its R unfolded channels repeat C/R times
  void* out;             ///< [B,T*st-dropped,H*sh,W*sw,C]
  int64_t batch, frames, height, width, channels, residual_channels;
  int64_t st, sh, sw;
  int64_t dropped;  ///< frames left out at the start, 0 to st-1
};

/// Winograd F(2x2x2, 3x3x3): an output tile of 2x2x2 positions from an input tile of 4x4x4 takes 64 products a channel pair
/// instead of 216. Tiles are numbered over (b, t/2, h/2, w/2).
struct WinogradShape {
  int64_t batch, frames, height, width;  ///< of the output; the input has two frames more, time padding done
  int64_t tiles_t, tiles_h, tiles_w;
};
struct WinogradInputArgs {
  WinogradShape shape;
  const float* x;  ///< [B,T+2,H,W,C]
  float* v;        ///< [64,capacity,C + kRowGap], tile `first` in row 0
  int64_t channels, first, capacity;
};
struct WinogradWeightArgs {
  bool bf16;       ///< w; f32 otherwise
  const void* w;   ///< [O,C,27]
  float* u;        ///< [64,count / kPanel,C,kPanel] for output channels first .. first+count
  int64_t channels, first, count;
};
struct WinogradOutputArgs {
  WinogradShape shape;
  const float* m;         ///< [64,capacity,count]
  const float* bias;      ///< [O]
  const float* residual;  ///< [B,T,H,W,O] or nullptr; may be `out`
  float* out;             ///< [B,T,H,W,O]
  int64_t channels, channel_first, channel_count, first, capacity;
};

/// Every 3x3x3 neighbourhood as one row, in the order of a weight's own memory.
struct PatchArgs {
  bool bf16;
  WinogradShape shape;  ///< tile counts unused
  const void* x;        ///< [B,T+2,H,W,C]
  void* rows;           ///< [B*T*H*W,C*27]
  int64_t channels;
};

#define LTXV_DECLARE_VAE_ROWS(ISA)                                                                  \
  namespace ISA {                                                                                   \
  void vae_norm(const VaeNormArgs& args, int64_t begin, int64_t end);           /* (b,t,h*w) */     \
  void depth_to_space(const DepthToSpaceArgs& args, int64_t begin, int64_t end); /* (b,t,h) of y */ \
  void winograd_input(const WinogradInputArgs& args, int64_t begin, int64_t end);   /* tiles */     \
  void winograd_weight(const WinogradWeightArgs& args, int64_t begin, int64_t end); /* of count */   \
  void winograd_output(const WinogradOutputArgs& args, int64_t begin, int64_t end); /* tiles */     \
  void gather_patches(const PatchArgs& args, int64_t begin, int64_t end);           /* positions */ \
  }
LTXV_DECLARE_VAE_ROWS(avx512)
LTXV_DECLARE_VAE_ROWS(avx2)
#undef LTXV_DECLARE_VAE_ROWS

}  // namespace ltxv::ops::cpu
