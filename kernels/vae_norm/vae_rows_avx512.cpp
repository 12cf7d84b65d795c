#define LTXV_ISA avx512
#include "vae_norm/vae_rows.inl"
