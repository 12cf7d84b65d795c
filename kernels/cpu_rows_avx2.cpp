#define LTXV_ISA avx2
#include "cpu_rows.inl"
