// Drives a fuzz target without libFuzzer: replays the files named, then mutates the seeds.
// Usage: <target> [--runs N] [--seed S] [FILE...]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz/fuzz.h"

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

void mutate(std::string& input, const std::vector<std::string>& seeds, std::mt19937& generator) {
  const auto below = [&](size_t limit) { return limit == 0 ? 0 : generator() % limit; };
  for (size_t left = 1 + below(4); left > 0; --left) {
    const size_t at = below(input.size());
    switch (below(7)) {
      case 0:
        if (!input.empty()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        if (!input.empty()) input[at] = static_cast<char>(generator());
        break;
      case 2:
        input.erase(at, 1 + below(8));
        break;
      case 3:
        input.insert(at, input.substr(below(input.size()), 1 + below(32)));
        break;
      case 4:
        input.resize(at);
        break;
      case 5: {
        const std::string& other = seeds[below(seeds.size())];
        input.insert(at, other.substr(below(other.size()), 1 + below(64)));
        break;
      }
      default: {
        static const char* const kTokens[] = {
            "0", "-1", "9223372036854775807", "18446744073709551615", "1e9", "[", "{", "\"", "\\u0000", "null"};
        input.insert(at, kTokens[below(std::size(kTokens))]);
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  long runs = 0, files = 0;
  unsigned seed = 1;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--runs") == 0 && i + 1 < count) {
      runs = std::atol(arguments[++i]);
    } else if (std::strcmp(arguments[i], "--seed") == 0 && i + 1 < count) {
      seed = static_cast<unsigned>(std::atol(arguments[++i]));
    } else {
      std::ifstream in(arguments[i], std::ios::binary);
      run({std::istreambuf_iterator<char>(in), {}});
      ++files;
    }
  }
  const std::vector<std::string> seeds = ltxv::test::fuzz_seeds();
  for (const std::string& input : seeds) run(input);
  for (long i = 0; i < runs; ++i) {
    std::mt19937 generator(seed +
                           static_cast<unsigned>(i));  // so that a crash can be repeated with --seed SEED --runs 1
    std::string input = seeds[generator() % seeds.size()];
    mutate(input, seeds, generator);
    run(input);
  }
  std::printf("%ld files, %zu seeds, %ld mutations: no finding\n", files, seeds.size(), runs);
}
