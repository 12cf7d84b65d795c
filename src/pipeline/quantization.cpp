#include "pipeline/quantization.h"

#include "attention_int8/attention_int8.h"
#include "base/error.h"
#include "cuda_plugin.h"

namespace ltxv {

BlockOptions block_options(const std::string& quantization, const std::string& attention, at::Device device, int64_t head_width) {
  BlockOptions options;
  if (quantization == "fp8") options.quantisation = ops::QuantType::fp8;
  if (quantization == "int8") options.quantisation = ops::QuantType::int8;
  LTXV_CHECK(options.quantisation || quantization.empty() || quantization == "none", "quantization \"", quantization,
             "\" is not one of none, fp8, int8");
  LTXV_CHECK(attention == "int8" || attention.empty() || attention == "exact", "attention \"", attention, "\" is not one of exact, int8");
  options.int8_attention = attention == "int8";
  if (!device.is_cuda()) return options;
  const int32_t arch = ops::cuda_arch(device);
  const std::string where = text(device.str(), " (compute capability ", arch / 10, ".", arch % 10, ")");
  // LibTorch's operations in its place would hold every score in memory.
  LTXV_REQUIRE(Unsupported, !options.int8_attention || ops::has_int8_attention(device, head_width),
               "attention int8: no kernel of it for heads of ", head_width, " is verified on ", where,
               "; LTXV_KERNELS=\"attention_int8=cuda_mma\" runs one all the same, from 8.9 on, cuda_wgmma one on 9.0 for heads of 128");
  LTXV_REQUIRE(Unsupported, options.quantisation != ops::QuantType::int8, "quantization int8 is for the CPU; on ", device.str(), " use fp8");
  LTXV_REQUIRE(Unsupported, !options.quantisation || arch >= 89, "quantization fp8: ", where, " has no such products, 8.9 or newer is needed");
  return options;
}

}  // namespace ltxv
