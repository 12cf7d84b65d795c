// What is said where nothing can be computed on CUDA.
#include "pipeline/cuda_probe.h"

#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace ltxv {
namespace {

bool contains(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

TEST(CudaProbe, NoPlugin) {
  const test::TempFolder folder;
  const auto probe = probe_cuda(folder.path(), "libno_such_driver.so.1");
  EXPECT_EQ(probe.plugin, "");
  EXPECT_TRUE(contains(probe.missing, "libltxv_cuda.so is not in " + std::string(folder.path()))) << probe.missing;
}

TEST(CudaProbe, NoDriver) {
  const test::TempFolder folder;
  folder.write("libltxv_cuda.so", "");
  const auto probe = probe_cuda(folder.path(), "libno_such_driver.so.1");
  EXPECT_TRUE(contains(probe.plugin, "libltxv_cuda.so"));
  EXPECT_EQ(probe.missing, "no NVIDIA driver (libno_such_driver.so.1 cannot be loaded)");
}

TEST(CudaProbe, ALibraryThatIsNoDriver) {
  const test::TempFolder folder;
  folder.write("libltxv_cuda.so", "");
  EXPECT_TRUE(contains(probe_cuda(folder.path(), "libm.so.6").missing, "lacks functions")) << "any library";
}

TEST(CudaProbe, ThisMachineIsOneOrTheOther) {
  const auto probe = probe_cuda();
  EXPECT_EQ(probe.missing.empty(), !probe.plugin.empty() && !probe.devices.empty()) << probe.missing;
  for (const auto& device : probe.devices) {
    EXPECT_FALSE(device.name.empty());
    EXPECT_GT(device.major, 0);
    EXPECT_GT(device.memory_bytes, 0);
  }
}

}  // namespace
}  // namespace ltxv
