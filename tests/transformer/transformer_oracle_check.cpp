// Developer check against reference cases on disk: transformer_oracle_check CASES_DIR. CASES_DIR/rope holds rotary tables, and
// CASES_DIR/<version>/transformer single predictions: one level for all tokens, one a token, perturbed blocks. Weights in both layouts.
// Not part of ctest. Exit status 1 when a result is more than 1e-4 of the deviation off.
#include <cstdio>

#include "pipeline/spec_files.h"
#include "support/oracle_cases.h"
#include "transformer/rope.h"
#include "transformer/transformer.h"

namespace fs = std::filesystem;
using namespace ltxv;
using test::load_case, test::original_file, test::read_json;

namespace {

using Tensors = std::map<std::string, at::Tensor>;
int g_bad = 0, g_all = 0;

void compare(const std::string& what, const at::Tensor& got, const at::Tensor& want) {
  LTXV_CHECK(got.sizes() == want.sizes(), what, ": shape ", got.sizes(), " instead of ", want.sizes());
  const auto expected = want.to(at::kDouble);
  const double error = (got.to(at::kDouble) - expected).abs().max().item<double>() / expected.std(false).item<double>();
  const bool good = error <= 1e-4;
  ++g_all, g_bad += !good;
  std::printf("%s %9.2e  %s\n", good ? "ok  " : "FAIL", error, what.c_str());
}

// The library's tables hold one angle a pair of channels, those of the cases one a channel.
at::Tensor doubled(const at::Tensor& table) { return table.repeat_interleave(2, -1); }

void check_rope(const fs::path& cases) {
  for (const auto& folder : fs::directory_iterator(cases / "rope")) {
    auto inputs = load_case(folder.path() / "inputs.safetensors"), expected = load_case(folder.path() / "expected.safetensors");
    TransformerConfig config;
    config.head_count = 2, config.head_width = expected.at("cos").size(2) / 2;
    const auto positions = inputs.at("coords")[0].contiguous();
    const auto few = ops::expanded(make_separable_rope_table(positions, config), config.width());
    for (const auto& [name, table] : {std::pair<std::string, RopeTable>{"full", make_rope_table(positions, config)}, {"separable", few}}) {
      compare(folder.path().filename().string() + " cos " + name, doubled(table.cos), expected.at("cos")[0]);
      compare(folder.path().filename().string() + " sin " + name, doubled(table.sin), expected.at("sin")[0]);
    }
  }
}

void check_transformer(const fs::path& folder, const std::string& name, const Transformer& transformer) {
  const auto predict = [&](Tensors& in, int64_t row, const Perturbation* perturbation) {
    const auto of_row = [&](const char* key) { return in.at(key).narrow(0, row, 1).contiguous(); };
    const auto prompt = transformer.prepare_prompt(of_row("encoder_hidden_states"), of_row("encoder_attention_mask"));
    const auto levels = in.count("timestep") ? of_row("timestep") : of_row("timestep_x1000") / 1000;
    const auto rope = transformer.rope_table(in.at("coords")[row].contiguous());
    return transformer.forward({of_row("hidden_states"), transformer.noise_levels(levels.flatten()), rope, {&prompt}, perturbation}, {})[0];
  };
  for (const auto& path : fs::directory_iterator(folder)) {
    auto inputs = load_case(path.path() / "inputs.safetensors"), expected = load_case(path.path() / "expected.safetensors");
    const auto about = read_json(path.path() / "case.json");
    const std::string where = name + " " + path.path().filename().string();
    if (about.at("kind") != "transformer_stg") {
      for (int64_t row = 0; row < 2; ++row) compare(text(where, " row ", row), predict(inputs, row, nullptr), expected.at("sample")[row]);
      continue;
    }
    compare(where + " none", predict(inputs, 0, nullptr), expected.at("none")[0]);
    const auto blocks = about.at("skipped_blocks").get<std::vector<int64_t>>();
    for (const auto& [key, mode] : {std::pair<std::string, SkipMode>{"AttentionValues", SkipMode::attention_values},
                                    {"AttentionSkip", SkipMode::attention_skip},
                                    {"TransformerBlock", SkipMode::transformer_block},
                                    {"Residual", SkipMode::residual}}) {
      const Perturbation perturbation{blocks, mode};
      compare(where + " " + key, predict(inputs, 1, &perturbation), expected.at(key)[1]);
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  LTXV_CHECK(argc == 2, "usage: transformer_oracle_check CASES_DIR");
  const c10::InferenceMode inference;
  check_rope(argv[1]);
  for (const std::string version : {"v090", "v091", "v095", "v098_13b"}) {
    const fs::path at = fs::path(argv[1]) / version, folder = at / "model_diffusers/transformer";
    if (!fs::exists(at / "transformer")) continue;
    bool causal = false;
    Parameters diffusers(open_component_folder(folder.string()), diffusers_transformer_names(), at::kFloat, "transformer");
    check_transformer(at / "transformer", version + " diffusers",
                      {transformer_config_from_diffusers(read_json(folder / "config.json"), "config.json", &causal), diffusers});
    const auto source = open_tensors(original_file(at / "model_original").string());
    const auto config = nlohmann::json::parse(source->metadata().at("config")).at("transformer");
    Parameters original(source, original_transformer_names(), at::kFloat, "transformer");
    check_transformer(at / "transformer", version + " original", {transformer_config_from_original(config, "config", &causal), original});
  }
  std::printf("%d comparisons, %d above 1e-4\n", g_all, g_bad);
  return g_bad == 0 && g_all > 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "transformer_oracle_check: %s\n", e.what());
  return 1;
}
