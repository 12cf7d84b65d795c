#pragma once
// Row kernels of the transformer on CPUs: POD arguments, no torch. One source (cpu_rows.inl) is compiled once per instruction set;
// the caller picks by registry.h cpu_features().
#include <cstdint>

namespace ltxv::ops::cpu {

enum class RowType : int32_t { f32, bf16 };

struct NormModulateRow {
  RowType type;
  const void* x;      ///< [rows, width]
  void* out;          ///< [rows, width]
  const float *scale, *shift;
  int64_t table_stride;        ///< floats between rows of the tables
  const int64_t* index;        ///< [tokens] or nullptr
  int64_t tokens, width;
  float eps;
};

struct AddGatedRow {
  RowType type;
  void* x;
  const void* y;
  const float* gate;  ///< nullptr: plain sum
  int64_t table_stride;
  const int64_t* index;
  int64_t tokens, width;
};

/// positive * a + negative * b + perturbed * c, and a step of it. Absent predictions are nullptr.
struct GuidedRows {
  RowType type;  ///< of the predictions
  const void *positive, *negative, *perturbed;  ///< [tokens, width]
  float* tokens;                                ///< [tokens, width]
  const float* token_step;                      ///< [tokens], or nullptr: `step` for all
  float a, b, c, step;
  int64_t width;
};
inline constexpr int kGuidanceSums = 9;  ///< as gpu::Moments: p, n, q, pp, nn, qq, pn, pq, nq

struct NormRopeRow {
  RowType type;
  void* x;
  const void* weight;  ///< same type as x
  const float *cos, *sin;  ///< [tokens, width/2] or nullptr
  int64_t tokens, width;
  float eps;
};

struct GeluTanh {
  RowType type;
  void* x;  ///< overwritten
};

/// Each processes rows [begin, end) of a [B*N, D] matrix; row r belongs to token r % tokens.
/// gelu_tanh and guidance_sums: elements [begin, end). gated_norm_modulate: the rows of `update`, then their norm, while they are near.
#define LTXV_DECLARE_ROWS(ISA)                                                              \
  namespace ISA {                                                                           \
  void norm_modulate(const NormModulateRow& args, int64_t begin, int64_t end);              \
  void add_gated(const AddGatedRow& args, int64_t begin, int64_t end);                      \
  void norm_rope(const NormRopeRow& args, int64_t begin, int64_t end);                      \
  void gelu_tanh(const GeluTanh& args, int64_t begin, int64_t end);                         \
  void gated_norm_modulate(const AddGatedRow& update, const NormModulateRow& norm, int64_t begin, int64_t end); \
  void guidance_sums(const GuidedRows& args, int64_t begin, int64_t end, double (&sums)[kGuidanceSums]);        \
  void guided_step(const GuidedRows& args, int64_t begin, int64_t end);                     \
  }
LTXV_DECLARE_ROWS(avx512)
LTXV_DECLARE_ROWS(avx2)
#undef LTXV_DECLARE_ROWS

}  // namespace ltxv::ops::cpu
