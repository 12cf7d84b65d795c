// Which CUDA kernels are chosen follows from the plug-in's table, which can be made up.
#include "cuda_choices.h"

#include <gtest/gtest.h>

namespace ltxv {
namespace {

using ops::gpu::CudaKernelInfo;

std::vector<ops::CudaChoice> choices(const std::vector<CudaKernelInfo>& rows, int32_t arch) {
  ops::gpu::CudaKernelTable table{};
  table.kernels = rows.data();
  table.kernel_count = static_cast<int32_t>(rows.size());
  return ops::cuda_choices(table, arch);
}

TEST(CudaChoices, WithoutARecordLibTorchComputes) {
  const std::vector<CudaKernelInfo> rows = {
      {"attention", "cuda_mma", 80, "a", 0}, {"attention", "cuda_mma", 90, "b", 0}, {"vae_norm", "cuda", 90, "c", 0}};
  const auto on_90 = choices(rows, 90);
  ASSERT_EQ(on_90.size(), 2u);
  EXPECT_EQ(on_90[0].variant, "sdpa");
  EXPECT_EQ(on_90[0].why, "cuda_mma: not verified on sm_90");
  EXPECT_EQ(on_90[1].variant, "reference");
  EXPECT_EQ(choices(rows, 120)[0].why, "cuda_mma: no code for sm_120");
}

TEST(CudaChoices, ARecordCountsForItsArchitectureOnly) {
  const std::vector<CudaKernelInfo> rows = {{"attention", "cuda_mma", 80, "a", 1},
                                            {"attention", "cuda_mma", 90, "b", 0},
                                            {"attention", "cuda_wgmma", 90, "c", 1}};
  EXPECT_EQ(choices(rows, 80)[0].variant, "cuda_mma");
  const auto on_90 = choices(rows, 90)[0];
  EXPECT_EQ(on_90.variant, "cuda_wgmma");
  EXPECT_EQ(on_90.why, "cuda_mma: not verified on sm_90; cuda_wgmma: verified on sm_90");
  EXPECT_TRUE(choices({}, 90).empty());
}

}  // namespace
}  // namespace ltxv
