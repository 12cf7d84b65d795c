#pragma once
// What every CUDA kernel is checked on: fresh random inputs, and the result in f64 from ATen's operations.
#include <functional>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "launchers.h"

namespace ltxv::gpu_check {

using ops::gpu::CudaKernelTable;

/// small: a few blocks, tails of every kind, for compute-sanitizer. usual: those, and the sizes of the released models.
enum class Sizes { small, usual };

struct Case {
  std::string op, variant, name;
  std::function<void()> reset;              ///< inputs as they were, outputs full of NaN
  std::function<int()> launch;              ///< cudaError_t
  std::vector<at::Tensor> outputs;
  std::function<std::vector<at::Tensor>()> expected;  ///< f64
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> values;  ///< what the outputs stand for; empty: themselves
  double tolerance = 0;                     ///< of ||actual - expected|| / ||expected||
};

/// Cases of one kernel; empty for one that this program does not know, which is a failure of the check.
std::vector<Case> cases_of(const CudaKernelTable& table, const std::string& op, const std::string& variant, Sizes sizes);

/// The same for kernels that make or read eight-bit codes; kernel_cases_quant.cpp.
void add_quantise_rows(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes);
void add_norm_quantise(std::vector<Case>& cases, const CudaKernelTable& table, Sizes sizes);
void add_attention_int8(std::vector<Case>& cases, const CudaKernelTable& table, const std::string& variant, Sizes sizes);

/// Sizes of rows: tails, every plan of threads, the released models.
struct RowShape {
  int64_t batch, tokens, width;
};
std::vector<RowShape> row_shapes(Sizes sizes);

/// The stream that launches go to.
void* launch_stream();

/// Rounding of the type, with room for the order of sums: bf16 has 8 significant bits.
inline double tolerance_of(at::ScalarType dtype) { return dtype == at::kFloat ? 2e-6 : 4e-3; }

}  // namespace ltxv::gpu_check
