#include "pipeline/host.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

#include "base/error.h"

namespace ltxv {

int physical_core_count() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::string> cores;  // lists of sibling threads, one for each core
  int threads = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    ++threads;
    std::ifstream siblings(text("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
    std::string list;
    if (std::getline(siblings, list)) cores.insert(list);
  }
  return std::max<int>(1, cores.empty() ? threads : static_cast<int>(cores.size()));
}

int64_t host_memory_bytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  std::ifstream limit_file("/sys/fs/cgroup/memory.max");
  int64_t limit = 0;
  if (limit_file >> limit && limit > 0) bytes = std::min(bytes, limit);
  return bytes;
}

}  // namespace ltxv
