// What the compiler made of the Hopper kernel, against the budgets of budgets.json: registers, stack, spills, shared memory,
// and the instructions that have to be there or must not. Needs a build with CUDA kernels; a disassembler for the last part.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "attention/sm90/plan.h"

namespace ltxv::test {
namespace {

const std::string kUnit = LTXV_BINARY_DIR "/cuda_units/attention_wgmma";

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

nlohmann::json budgets() {
  return nlohmann::json::parse(read(LTXV_SOURCE_DIR "/tests/kernels/sm90/budgets.json")).at("kernels");
}

// How the kernel of a head width is named in machine code: attention_wgmma<Plan<64, ...>>.
std::string mangled(int head_dim) { return "attention_wgmmaINS1_4PlanILi" + std::to_string(head_dim) + "E"; }

// What ptxas says of one kernel: the lines from its name to the next.
std::string said_of(int head_dim) {
  const auto all = read(kUnit + ".ptxas.txt");
  const auto begin = all.find("Compiling entry function '_ZN4ltxv3ops3gpu4sm9015" + mangled(head_dim));
  if (begin == std::string::npos) return "";
  return all.substr(begin, all.find("Compiling entry function", begin + 1) - begin);
}

int number_before(const std::string& text, const std::string& words) {
  std::smatch match;
  return std::regex_search(text, match, std::regex("([0-9]+) " + words)) ? std::stoi(match[1]) : -1;
}

bool has_cuda() { return std::filesystem::exists(kUnit + ".ptxas.txt"); }

TEST(Sm90MachineCode, StaysWithinItsBudget) {
  if (!has_cuda()) GTEST_SKIP() << "this build has no CUDA kernels";
  for (const auto& budget : budgets()) {
    const int e = budget.at("head_dim");
    const auto said = said_of(e);
    ASSERT_FALSE(said.empty()) << "ptxas does not mention the kernel of head_dim " << e;
    const int registers = number_before(said, "registers");
    EXPECT_GT(registers, 0) << said;
    EXPECT_LE(registers, budget.at("registers").get<int>()) << said;
    EXPECT_EQ(number_before(said, "bytes stack frame"), 0) << said;
    EXPECT_EQ(number_before(said, "bytes spill stores"), 0) << said;
    EXPECT_EQ(number_before(said, "bytes spill loads"), 0) << said;
  }
}

// "Potential Performance Loss: wgmma.mma_async instructions are serialized" (C7510 and its family), "setmaxnreg ignored",
// and whatever else ptxas warns of.
TEST(Sm90MachineCode, IsCompiledWithoutAWarning) {
  if (!has_cuda()) GTEST_SKIP() << "this build has no CUDA kernels";
  const auto said = read(kUnit + ".ptxas.txt");
  for (const char* word : {"warning", "C75", "serialized", "ignored"}) EXPECT_EQ(said.find(word), std::string::npos) << said;
}

TEST(Sm90MachineCode, SharedMemoryIsAsBudgeted) {
  using namespace ops::gpu::sm90;
  for (const auto& budget : budgets())
    EXPECT_EQ(budget.at("shared_bytes").get<int>(),
              budget.at("head_dim") == 64 ? Plan<64>::kLaunchBytes : Plan<128>::kLaunchBytes);
}

// Opcodes of one kernel, counted by everything that starts with a name of the budget.
std::string disassembly(int head_dim) {
  FILE* pipe = popen(("'" LTXV_NVDISASM "' -c '" + kUnit + ".sm90a.cubin' 2>&1").c_str(), "r");
  std::string all;
  std::array<char, 4096> buffer;
  for (size_t n; pipe && (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) all.append(buffer.data(), n);
  if (pipe) pclose(pipe);
  std::istringstream lines(all);
  std::string code;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.find(".section") != std::string::npos)
      inside = line.find(".text.") != std::string::npos && line.find(mangled(head_dim)) != std::string::npos;
    if (inside) code += line + "\n";
  }
  return code;
}

TEST(Sm90MachineCode, HasTheInstructionsItIsMadeFor) {
  if (!has_cuda()) GTEST_SKIP() << "this build has no CUDA kernels";
  if (std::string(LTXV_NVDISASM).empty())
    GTEST_SKIP() << "no nvdisasm found at configuration (CUDA toolkit, or the Python package nvidia-cuda-nvdisasm)";
  for (const auto& budget : budgets()) {
    const int e = budget.at("head_dim");
    const auto code = disassembly(e);
    ASSERT_NE(code.find("EXIT"), std::string::npos) << "nothing disassembled for head_dim " << e;
    for (const auto& [name, range] : budget.at("instructions").items()) {
      const std::regex opcode("(^|[^A-Z0-9.])" + std::regex_replace(name, std::regex("\\."), "\\.") + "[. ;]");
      const auto count = std::distance(std::sregex_iterator(code.begin(), code.end(), opcode), std::sregex_iterator());
      EXPECT_GE(count, range[0].get<int>()) << "head_dim " << e << ": " << name;
      EXPECT_LE(count, range[1].get<int>()) << "head_dim " << e << ": " << name;
    }
  }
}

// In the loop, the exponentials of one tile run under the product of the tile before: between the wait for the scores (one
// product may be pending) and the wait for the output. Compilers like to move the second wait up.
TEST(Sm90MachineCode, ComputesExponentialsUnderTheProduct) {
  if (!has_cuda()) GTEST_SKIP() << "this build has no CUDA kernels";
  if (std::string(LTXV_NVDISASM).empty()) GTEST_SKIP() << "no nvdisasm found at configuration";
  for (const int e : {64, 128}) {
    const auto code = disassembly(e);
    const auto begin = code.find("DEPBAR.LE gsb0, 0x1");
    ASSERT_NE(begin, std::string::npos) << "head_dim " << e << ": no wait that leaves a product pending";
    const auto end = code.find("DEPBAR.LE gsb0, 0x0", begin);
    ASSERT_NE(end, std::string::npos);
    const auto between = code.substr(begin, end - begin);
    const std::regex exponential("MUFU\\.EX2");
    const auto count = std::distance(std::sregex_iterator(between.begin(), between.end(), exponential), std::sregex_iterator());
    const int scores = e == 64 ? ops::gpu::sm90::Plan<64>::kScores : ops::gpu::sm90::Plan<128>::kScores;
    EXPECT_GE(count, scores) << "head_dim " << e;
    EXPECT_EQ(between.find("HGMMA"), std::string::npos) << "head_dim " << e;
  }
}

}  // namespace
}  // namespace ltxv::test
