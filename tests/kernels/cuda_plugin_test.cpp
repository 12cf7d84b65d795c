// The plug-in as the library opens it, and the rule which kernels may be chosen. Needs no GPU; skipped in a build without CUDA.
#include "cuda_plugin.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "adaln/adaln.h"
#include "base/error.h"
#include "support/own_process.h"
#include "support/temp_folder.h"

namespace ltxv {
namespace {

using namespace ops;

// Whether a file whose name holds `what` is mapped into this process.
bool is_mapped(const std::string& what) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find(what) != std::string::npos) return true;
  return false;
}

std::string describe_kernel(const gpu::CudaKernelInfo& k) { return text(k.op, " ", k.variant, " ", k.arch, " ", k.hash); }

// In a process of its own, because opening cannot be undone.
TEST(CudaPlugin, DISABLED_Open) {
  std::ofstream out(test::environment_variable("LTXV_TEST_OUT"));
  auto x = at::ones({1, 2, 8});
  add_gated_(x, x.clone(), {}, {});
  out << "mapped before: " << is_mapped("libtorch_cuda") << "\n";
  const CudaPlugin& plugin = cuda_plugin();
  out << "mapped after: " << is_mapped("libtorch_cuda") << "\n";
  out << "problem: " << plugin.problem << "\n";
  if (plugin.table)
    for (int32_t i = 0; i < plugin.table->kernel_count; ++i) out << "kernel: " << describe_kernel(plugin.table->kernels[i]) << "\n";
}

std::multiset<std::string> lines_of(const std::string& content, const std::string& start) {
  std::multiset<std::string> found;
  std::istringstream in(content);
  for (std::string line; std::getline(in, line);)
    if (line.rfind(start, 0) == 0) found.insert(line.substr(start.size()));
  return found;
}

TEST(CudaPlugin, OpensOnDemandAndListsWhatWasBuilt) {
  const test::TempFolder folder;
  ASSERT_EQ(test::run_own_test("CudaPlugin.DISABLED_Open", "LTXV_TEST_OUT=" + (folder / "out")), 0);
  const std::string content = test::read_file(folder / "out");
  EXPECT_EQ(lines_of(content, "mapped before: "), std::multiset<std::string>{"0"}) << "a CPU run maps LibTorch's CUDA part";
#ifdef LTXV_CUDA_UNITS
  EXPECT_EQ(lines_of(content, "problem: "), std::multiset<std::string>{""});
  EXPECT_EQ(lines_of(content, "mapped after: "), std::multiset<std::string>{"1"});
  // What the compiler left beside the objects.
  std::multiset<std::string> built;
  for (const auto& entry : std::filesystem::directory_iterator(LTXV_CUDA_UNITS)) {
    if (entry.path().filename().string().find(".kernels.txt") == std::string::npos) continue;
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      if (const auto suffix = line.find("a "); suffix != std::string::npos && line.find("90a ") != std::string::npos) line.erase(line.find("90a ") + 2, 1);
      built.insert(line);
    }
  }
  EXPECT_GE(built.size(), 20u);
  EXPECT_EQ(lines_of(content, "kernel: "), built);
#else
  EXPECT_EQ(lines_of(content, "mapped after: "), std::multiset<std::string>{"0"});
  EXPECT_EQ(lines_of(content, "problem: ").count("libltxv_cuda.so is not beside the library: this build computes on the cpu only"), 1u);
#endif
}

TEST(CudaPlugin, OnlyTheExactArchitectureWithARecordIsVerified) {
  const gpu::CudaKernelInfo kernels[] = {{"attention", "cuda_mma", 80, "a", 1}, {"attention", "cuda_mma", 90, "b", 0}, {"add_gated", "cuda", 90, "c", 1}};
  gpu::CudaKernelTable table{};
  table.kernels = kernels, table.kernel_count = 3;
  EXPECT_TRUE(is_verified(table, "attention", "cuda_mma", 80));
  EXPECT_FALSE(is_verified(table, "attention", "cuda_mma", 90));
  EXPECT_FALSE(is_verified(table, "attention", "cuda_mma", 86));  // runs the code of 80, but nobody has seen it do so
  EXPECT_FALSE(is_verified(table, "attention", "cuda", 90));
  EXPECT_TRUE(is_verified(table, "add_gated", "cuda", 90));
  EXPECT_FALSE(is_verified(table, "add_gated", "cuda", 0));
}

}  // namespace
}  // namespace ltxv
