#pragma once
// glibc's allocator for the programs here. A library leaves it alone: it belongs to the process.
#include <malloc.h>

/// glibc returns big blocks to the system when they are freed, and every convolution then pays for fresh zeroed pages again: keeping
/// them made a VAE on two cores 5 to 10 times faster. All three settings are needed: a threshold alone is capped at 32 MiB.
inline void keep_large_blocks() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
}
