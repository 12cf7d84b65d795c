#pragma once
// What the machine can do at most, to compare a forward with.
#include <cstdint>
#include <string>

namespace bench {

/// Best of five products of two size x size bf16 matrices, by the same LibTorch that the library uses. Units: FLOP/s.
double gemm_flops_per_second(int64_t size, int threads);

/// Multiplications and additions of one forward with the prompt's keys and values at hand, linear layers and attention only, by the
/// numbers in `<model>/transformer/config.json`; 0 where there is no such file.
double forward_flops(const std::string& model, int64_t tokens, int64_t text_tokens);

}  // namespace bench
