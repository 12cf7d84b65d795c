#pragma once
// Attention on x86 processors with AMX: POD arguments, no torch.
//
// Scores are made as S^T = K Q^T, a column a query: what softmax does along keys is then done to whole vectors of 16 queries, and its
// result is already in the order in which the second product, O^T = V^T P^T, reads its right factor. Keys and values are put into
// tiles once a head. Tiles of 16 queries keep their sum in tile registers while the keys of a chunk pass by, and the products of one
// 32 keys run beside the exponentials of another.
// Source: the online softmax of "FlashAttention-2", algorithm 1.
#include <cstdint>

namespace ltxv::ops::cpu {

struct AmxAttentionArgs {
  const uint16_t *q, *k, *v;  ///< bf16 [batch,length,heads * width], strides in elements, last axis contiguous
  uint16_t* out;
  int64_t batch, heads, width, q_length, k_length;  ///< width: 32, 64, 96 or 128
  int64_t q_batch_stride, q_row_stride, k_batch_stride, k_row_stride, v_batch_stride, v_row_stride, out_batch_stride, out_row_stride;
  float scale;
  uint16_t* packed;  ///< amx_attention_packed_elements(), aligned to 64 bytes
};

inline constexpr int64_t kAmxKeys = 32;      ///< of one packed block
inline constexpr int64_t kAmxQueries = 256;  ///< of one unit of work

inline int64_t amx_attention_key_blocks(const AmxAttentionArgs& a) { return (a.k_length + kAmxKeys - 1) / kAmxKeys; }
inline int64_t amx_attention_units(const AmxAttentionArgs& a) { return a.batch * a.heads * ((a.q_length + kAmxQueries - 1) / kAmxQueries); }
inline int64_t amx_attention_packed_elements(const AmxAttentionArgs& a) {
  return a.batch * a.heads * amx_attention_key_blocks(a) * 2 * kAmxKeys * a.width;
}

/// Puts keys and values into tiles. begin, end: of batch * heads * amx_attention_key_blocks().
void amx_attention_pack(const AmxAttentionArgs& args, int64_t begin, int64_t end);
/// After that. begin, end: of amx_attention_units(). Leaves the thread's tile configuration as it was.
void amx_attention(const AmxAttentionArgs& args, int64_t begin, int64_t end);

}  // namespace ltxv::ops::cpu
