#pragma once
// The command line of ltxv-bench.
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

/// Sizes 0: the model's preset.
struct Options {
  std::string task;  ///< step, generate, decode, encode
  std::string model, dtype = "auto";
  std::string quantization, attention;
  std::string device = "auto";
  int32_t cuda_graphs = 0;  ///< 1: on
  double device_memory = 0;  ///< GiB of the device to plan for; 0: all of it
  int32_t threads = 0;
  int32_t runs = 3;
  uint64_t seed = 7;

  // step, generate
  std::string prompt = "a red circle moves to the right on a black background";
  std::string prompt_embeds, negative_prompt_embeds;
  int32_t width = 0, height = 0, frames = 0, steps = 0;
  double guidance = -1, stg_scale = -1;  ///< negative: the preset's
  std::vector<double> sigmas;
  std::string save_latents;
  std::string output;  ///< generate: also writes the clip; decode and encode: saves the result

  // decode, encode
  std::vector<int64_t> shape;  ///< decode: latent T,H,W; encode: pixel T,H,W
  std::string input;           ///< .safetensors instead of seeded random values
};

/// Throws std::invalid_argument with one line that names the option.
Options parse(int argc, char** argv);
std::string usage();

}  // namespace bench
