// What nvcc made of the kernels: registers, shared memory and spills as ptxas reports them, against kernels/cuda/budgets.json; and,
// where a disassembler is at hand, the instructions.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

namespace ltxv {
namespace {

namespace fs = std::filesystem;

struct Usage {
  int registers = 0, stack = 0, spill_stores = 0, spill_loads = 0, kernels = 0, static_shared = 0;
};
using UsageByArch = std::map<std::string, Usage>;  // the largest of a unit's kernels, by "sm_90"

// The lines of `ptxas -v`: "Compiling entry function 'name' for 'sm_80'", "N bytes stack frame, N bytes spill stores, N bytes spill
// loads", "Used N registers, used 1 barriers, N bytes smem, ...".
UsageByArch parse(std::istream& in) {
  const std::regex entry("Compiling entry function '.*' for '(sm_[0-9a-z]+)'");
  const std::regex stack("([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores, ([0-9]+) bytes spill loads");
  const std::regex used("Used ([0-9]+) registers"), shared("([0-9]+) bytes smem");
  UsageByArch usage;
  Usage* now = nullptr;
  const auto raise = [](int& to, const std::string& value) { to = std::max(to, std::stoi(value)); };
  std::smatch m;
  for (std::string line; std::getline(in, line);) {
    if (std::regex_search(line, m, entry)) {
      now = &usage[m[1]];
      ++now->kernels;
    } else if (now && std::regex_search(line, m, stack)) {
      raise(now->stack, m[1]), raise(now->spill_stores, m[2]), raise(now->spill_loads, m[3]);
    }
    if (now && std::regex_search(line, m, used)) raise(now->registers, m[1]);
    if (now && std::regex_search(line, m, shared)) raise(now->static_shared, m[1]);
  }
  return usage;
}

nlohmann::json budgets() {
  std::ifstream in(fs::path(LTXV_SOURCE_DIR) / "kernels/cuda/budgets.json");
  return nlohmann::json::parse(in);
}

std::vector<std::string> unit_names() {
  std::vector<std::string> names;
  const std::string end = ".ptxas.txt";
  for (const auto& file : fs::directory_iterator(LTXV_CUDA_UNITS)) {
    const auto name = file.path().filename().string();
    if (name.size() > end.size() && name.ends_with(end)) names.push_back(name.substr(0, name.size() - end.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(CudaCode, TheParserReadsWhatPtxasWrites) {
  std::istringstream in(R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_80'
ptxas info    : Function properties for a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size, 496 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_90a'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 256 bytes smem)");
  const auto usage = parse(in);
  ASSERT_EQ(usage.size(), 2u);
  EXPECT_EQ(usage.at("sm_80").registers, 255);
  EXPECT_EQ(usage.at("sm_80").spill_stores, 4);
  EXPECT_EQ(usage.at("sm_80").spill_loads, 12);
  EXPECT_EQ(usage.at("sm_80").stack, 8);
  EXPECT_EQ(usage.at("sm_90a").registers, 32);
  EXPECT_EQ(usage.at("sm_90a").static_shared, 256);
}

TEST(CudaCode, StaysInItsBudgetAndSpillsNothing) {
  const auto all = budgets();
  const auto names = unit_names();
  ASSERT_GE(names.size(), 6u);
  for (const auto& name : names) {
    ASSERT_TRUE(all.contains(name)) << "kernels/cuda/budgets.json has no entry for " << name;
    const auto& budget = all.at(name);
    std::ifstream in(fs::path(LTXV_CUDA_UNITS) / (name + ".ptxas.txt"));
    const auto usage = parse(in);
    EXPECT_EQ(usage.size(), budget.at("archs").size()) << name;
    for (const auto& arch : budget.at("archs")) {
      const auto label = name + " for " + arch.get<std::string>();
      ASSERT_TRUE(usage.count(arch)) << label << ": ptxas said nothing";
      const Usage& u = usage.at(arch);
      EXPECT_EQ(u.kernels, budget.at("kernels").get<int>()) << label;
      EXPECT_LE(u.registers, budget.at("registers").get<int>()) << label;
      EXPECT_LE(u.static_shared, budget.value("static_shared", 0)) << label;
      EXPECT_EQ(u.spill_stores, 0) << label;
      EXPECT_EQ(u.spill_loads, 0) << label;
      EXPECT_EQ(u.stack, budget.value("stack", 0)) << label;
    }
  }
}

// nvcc names what has internal linkage after the source's folder: the hash would be another one for everybody, and no record would hold.
TEST(CudaCode, DoesNotDependOnItsFolder) {
  int cubins = 0;
  for (const auto& file : fs::directory_iterator(LTXV_CUDA_UNITS)) {
    if (file.path().extension() != ".cubin") continue;
    std::ifstream in(file.path(), std::ios::binary);
    const std::string code((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    EXPECT_EQ(code.find("_GLOBAL__N"), std::string::npos) << file.path().filename() << " has a kernel in an anonymous namespace";
    ++cubins;
  }
  EXPECT_GE(cubins, static_cast<int>(unit_names().size()));
}

std::string disassembler() {
  const char* path = std::getenv("PATH");
  std::vector<fs::path> folders = {fs::path(LTXV_CUDA_ROOT) / "bin"};
  std::istringstream in(path ? path : "");
  for (std::string folder; std::getline(in, folder, ':');) folders.emplace_back(folder);
  for (const auto& folder : folders)
    if (fs::exists(folder / "cuobjdump") && fs::exists(folder / "nvdisasm")) return (folder / "cuobjdump").string();
  return "";
}

TEST(CudaCode, HasTheInstructionsItWasWrittenFor) {
  const auto tool = disassembler();
  if (tool.empty()) GTEST_SKIP() << "no cuobjdump and nvdisasm in PATH: instructions were not looked at";
  const auto all = budgets();
  for (const auto& name : unit_names())
    for (const auto& file : fs::directory_iterator(LTXV_CUDA_UNITS)) {
      const auto cubin = file.path().filename().string();
      if (cubin.rfind(name + ".sm", 0) != 0 || file.path().extension() != ".cubin") continue;
      const auto command = "PATH='" + fs::path(tool).parent_path().string() + "':$PATH '" + tool + "' -sass '" + file.path().string() + "'";
      FILE* pipe = popen(command.c_str(), "r");
      ASSERT_NE(pipe, nullptr);
      std::string code;
      char buffer[4096];
      for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) code.append(buffer, n);
      ASSERT_EQ(pclose(pipe), 0) << command;
      ASSERT_NE(code.find("EXIT"), std::string::npos) << cubin;
      // Plain search: a regular expression takes a minute for these megabytes.
      for (const char* local : {" LDL", " STL"}) EXPECT_EQ(code.find(local), std::string::npos) << cubin << " uses local memory";
      auto needed_here = all.at(name).value("instructions", nlohmann::json::array());
      const std::string arch = cubin.substr(name.size() + 1, cubin.size() - name.size() - 7);  // "sm89" of "name.sm89.cubin"
      for (const auto& more : all.at(name).value("instructions_" + arch, nlohmann::json::array())) needed_here.push_back(more);
      for (const auto& needed : needed_here)
        EXPECT_NE(code.find(needed.get<std::string>()), std::string::npos) << cubin << " has no " << needed;
    }
}

}  // namespace
}  // namespace ltxv
