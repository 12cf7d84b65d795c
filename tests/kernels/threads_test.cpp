// at::parallel_for is a template: in a file compiled without OpenMP it runs on one thread, with right results and no word about it.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <thread>

#include "base/tensor.h"

namespace ltxv {
namespace {

TEST(Threads, LoopsOfTheLibraryRunOnAllOfThem) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::set<std::thread::id> seen;
  std::mutex mutex;
  at::parallel_for(0, 2, 1, [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  at::set_num_threads(before);
  EXPECT_EQ(seen.size(), 2u);
}

}  // namespace
}  // namespace ltxv
