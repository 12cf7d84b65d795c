#define LTXV_ISA avx2
#include "vae_norm/vae_rows.inl"
