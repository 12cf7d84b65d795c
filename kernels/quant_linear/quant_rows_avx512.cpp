#define LTXV_ISA avx512
#include "quant_linear/quant_rows.inl"
