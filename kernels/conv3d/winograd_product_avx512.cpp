#define LTXV_ISA avx512
#include "conv3d/winograd_product.inl"
