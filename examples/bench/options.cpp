#include "options.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <stdexcept>

namespace bench {
namespace {

template <class T>
T number(const std::string& option, std::string_view word) {
  T value{};
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (problem != std::errc() || end != word.data() + word.size())
    throw std::invalid_argument(option + " '" + std::string(word) + "' is not a number");
  return value;
}

template <class T>
std::vector<T> numbers(const std::string& option, const std::string& list) {
  std::vector<T> values;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    values.push_back(number<T>(option, std::string_view(list).substr(at, end - at)));
    at = end + 1;
  }
  return values;
}

using Setter = std::function<void(const std::string& option, const std::string& word)>;

template <class T>
Setter into(T& target) {
  return [&target](const std::string& option, const std::string& word) {
    if constexpr (std::is_same_v<T, std::string>) {
      target = word;
    } else if constexpr (std::is_arithmetic_v<T>) {
      target = number<T>(option, word);
    } else {
      target = numbers<typename T::value_type>(option, word);
    }
  };
}

}  // namespace

std::string usage() {
  return "ltxv-bench TASK [OPTION VALUE]...      one JSON object on stdout\n"
         "  step      time of a denoising step: between two progress reports of a generate call\n"
         "  generate  end to end in one warm process, split by stage\n"
         "  decode    VAE decoder on latents --shape T,H,W\n"
         "  encode    VAE encoder on pixels --shape T,H,W\n"
         "all:              --model --dtype auto|fp32|bf16 --quantization none|fp8|int8 --attention exact|int8\n"
         "                  --device auto|cpu|cuda[:I][,cuda:J...] --cuda-graphs 0|1 --device-memory GIB --threads --runs --seed\n"
         "step, generate:   --prompt | --prompt-embeds FILE [--negative-prompt-embeds FILE]  --width --height --frames\n"
         "                  --steps | --sigmas A,B,...  --guidance  --stg-scale  --save-latents FILE\n"
         "decode, encode:   --shape T,H,W | --input FILE.safetensors\n"
         "all but step:     --output FILE\n";
}

Options parse(int argc, char** argv) {
  Options o;
  const std::map<std::string, Setter> setters = {
      {"--model", into(o.model)},       {"--dtype", into(o.dtype)},
      {"--quantization", into(o.quantization)}, {"--attention", into(o.attention)},
      {"--device", into(o.device)},     {"--cuda-graphs", into(o.cuda_graphs)},
      {"--device-memory", into(o.device_memory)},
      {"--threads", into(o.threads)},   {"--runs", into(o.runs)},
      {"--seed", into(o.seed)},         {"--prompt", into(o.prompt)},
      {"--prompt-embeds", into(o.prompt_embeds)}, {"--negative-prompt-embeds", into(o.negative_prompt_embeds)},
      {"--width", into(o.width)},       {"--height", into(o.height)},
      {"--frames", into(o.frames)},     {"--steps", into(o.steps)},
      {"--sigmas", into(o.sigmas)},     {"--guidance", into(o.guidance)},
      {"--stg-scale", into(o.stg_scale)},
      {"--save-latents", into(o.save_latents)}, {"--output", into(o.output)},
      {"--shape", into(o.shape)},       {"--input", into(o.input)}};
  if (argc > 1) o.task = argv[1];
  if (o.task != "step" && o.task != "generate" && o.task != "decode" && o.task != "encode")
    throw std::invalid_argument("the first word is a task: step, generate, decode or encode");
  for (int i = 2; i < argc; i += 2) {
    const auto found = setters.find(argv[i]);
    if (found == setters.end()) throw std::invalid_argument("unknown option '" + std::string(argv[i]) + "'");
    if (i + 1 == argc) throw std::invalid_argument(found->first + " needs a value");
    found->second(found->first, argv[i + 1]);
  }
  if (o.runs < 1) throw std::invalid_argument("--runs must be 1 or more");
  const bool volume_task = o.task == "decode" || o.task == "encode";
  if (volume_task && o.input.empty() && o.shape.size() != 3) throw std::invalid_argument("--shape T,H,W or --input is needed");
  for (const int64_t size : o.shape)
    if (size < 1) throw std::invalid_argument("--shape: every size must be 1 or more");
  return o;
}

}  // namespace bench
