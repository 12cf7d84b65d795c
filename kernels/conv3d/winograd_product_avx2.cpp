#define LTXV_ISA avx2
#include "conv3d/winograd_product.inl"
