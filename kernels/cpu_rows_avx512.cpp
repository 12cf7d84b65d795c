#define LTXV_ISA avx512
#include "cpu_rows.inl"
