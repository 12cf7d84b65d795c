#pragma once
#include <string>

#include "launchers.h"

namespace ltxv::gpu_check {

/// Times by CUDA events, median of 10 after 3 to warm up, smallest and largest beside it; a line of JSON each. What is compared runs in
/// turn. `only`: attention, rows, forward, or empty for all. False when something could not be measured.
bool bench(const ops::gpu::CudaKernelTable& table, const std::string& only);

}  // namespace ltxv::gpu_check
