#pragma once
// Facts about the machine. Torch-free.
#include <cstdint>

namespace ltxv {

/// Cores this process may use, counting hardware threads of one core once.
int physical_core_count();
/// Installed memory, or the process's cgroup limit if that is lower.
int64_t host_memory_bytes();

}  // namespace ltxv
