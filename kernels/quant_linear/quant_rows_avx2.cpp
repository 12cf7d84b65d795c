#define LTXV_ISA avx2
#include "quant_linear/quant_rows.inl"
