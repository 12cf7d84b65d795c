// What the compiler made of the Hopper kernel, beyond registers and spills (cuda_code_test.cpp): warnings, shared
// memory, how many of which instructions, and their order. Needs a build with CUDA kernels, and a disassembler for the
// last two.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
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
  return nlohmann::json::parse(read(LTXV_SOURCE_DIR "/tests/kernels/sm90/instructions.json")).at("kernels");
}

bool has_cuda() { return std::filesystem::exists(kUnit + ".ptxas.txt"); }

// "Potential Performance Loss: wgmma.mma_async instructions are serialized" (C7510 and its family), "setmaxnreg
// ignored", and whatever else ptxas warns of.
TEST(Sm90MachineCode, IsCompiledWithoutAWarning) {
  if (!has_cuda()) GTEST_SKIP() << "this build has no CUDA kernels";
  const auto said = read(kUnit + ".ptxas.txt");
  for (const char* word : {"warning", "C75", "serialized", "ignored"})
    EXPECT_EQ(said.find(word), std::string::npos) << said;
}

TEST(Sm90MachineCode, SharedMemoryIsAsBudgeted) {
  using namespace ops::gpu::sm90;
  for (const auto& budget : budgets())
    EXPECT_EQ(budget.at("shared_bytes").get<int>(),
              budget.at("head_dim") == 64 ? Plan<64>::kLaunchBytes : Plan<128>::kLaunchBytes);
}

// How often an opcode of this name stands in the code, alone or with more modifiers.
int count_of(const std::string& code, const std::string& name) {
  int count = 0;
  for (auto at = code.find(name); at != std::string::npos; at = code.find(name, at + 1)) {
    const char before = at == 0 ? ' ' : code[at - 1],
               after = at + name.size() < code.size() ? code[at + name.size()] : ' ';
    count += before == ' ' && (after == ' ' || after == '.' || after == ';');
  }
  return count;
}

// The disassembly of the kernel of one head width.
std::string disassembly(int head_dim) {
  FILE* pipe = popen(("'" LTXV_NVDISASM "' -c '" + kUnit + ".sm90a.cubin' 2>&1").c_str(), "r");
  std::string all;
  std::array<char, 4096> buffer;
  for (size_t n; pipe && (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) all.append(buffer.data(), n);
  if (pipe) pclose(pipe);
  std::istringstream lines(all);
  std::string code;
  // attention_wgmma<Plan<64, ...>> in machine code.
  const auto name = "PlanILi" + std::to_string(head_dim) + "E";
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.find(".section") != std::string::npos)
      inside = line.find(".text.") != std::string::npos && line.find(name) != std::string::npos;
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
      const int count = count_of(code, name);
      EXPECT_GE(count, range[0].get<int>()) << "head_dim " << e << ": " << name;
      EXPECT_LE(count, range[1].get<int>()) << "head_dim " << e << ": " << name;
    }
  }
}

// In the loop, the exponentials of one tile run under the product of the tile before: between the wait for the scores
// (one product may be pending) and the wait for the output. Compilers like to move the second wait up.
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
    const int count = count_of(between, "MUFU.EX2");
    const int scores = e == 64 ? ops::gpu::sm90::Plan<64>::kScores : ops::gpu::sm90::Plan<128>::kScores;
    EXPECT_GE(count, scores) << "head_dim " << e;
    EXPECT_EQ(between.find("HGMMA"), std::string::npos) << "head_dim " << e;
  }
}

}  // namespace
}  // namespace ltxv::test
