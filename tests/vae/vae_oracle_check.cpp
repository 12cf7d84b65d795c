// Developer check against reference cases on disk: vae_oracle_check CASES_DIR [bf16]. CASES_DIR/<version>/vae/* hold inputs and
// expected tensors, model_diffusers/vae and model_original the same weights in two layouts. Not part of ctest.
#include <cstdio>

#include "support/oracle_cases.h"
#include "vae/vae_config_json.h"
#include "vae/video_vae.h"

namespace fs = std::filesystem;
using namespace ltxv;
using test::load_case, test::original_file, test::read_json;

namespace {

VideoVae open_diffusers(const fs::path& folder, at::ScalarType dtype, VaePath path) {
  const auto [config, names] = vae_config_from_diffusers(read_json(folder / "config.json"), (folder / "config.json").string());
  Parameters parameters(open_component_folder(folder.string()), names, dtype, "vae");
  return VideoVae(config, parameters, VaeParts::both, path);
}

VideoVae open_original(const fs::path& folder, at::ScalarType dtype, VaePath path) {
  const fs::path file = original_file(folder);
  const auto source = open_tensors(file.string());
  const auto metadata = nlohmann::json::parse(source->metadata().at("config"));
  const VaeConfig config = vae_config_from_original(metadata.at("vae"), file.string());
  Parameters parameters(source, original_vae_names(), dtype, "vae");
  return VideoVae(config, parameters, VaeParts::both, path);
}

struct Difference {
  double max_over_std, rms_relative;
};

Difference compare(const at::Tensor& got, const at::Tensor& want) {
  LTXV_CHECK(got.sizes() == want.sizes(), "shape ", got.sizes(), " instead of ", want.sizes());
  const at::Tensor d = (got - want).to(at::kDouble), w = want.to(at::kDouble);
  return {d.abs().max().item<double>() / w.std(false).item<double>(),
          std::sqrt(d.square().mean().item<double>() / w.square().mean().item<double>())};
}

}  // namespace

int main(int argc, char** argv) try {
  LTXV_CHECK(argc >= 2, "usage: vae_oracle_check CASES_DIR [bf16]");
  const at::ScalarType dtype = argc > 2 && std::string(argv[2]) == "bf16" ? at::kBFloat16 : at::kFloat;
  const c10::InferenceMode inference;
  int bad = 0;
  for (const std::string version : {"v090", "v091", "v095", "v098_13b"}) {
    const fs::path at = fs::path(argv[1]) / version;
    for (const bool original : {false, true}) {
      for (const VaePath path : {VaePath::plain, VaePath::fast}) {
        const VideoVae vae = original ? open_original(at / "model_original", dtype, path)
                                      : open_diffusers(at / "model_diffusers/vae", dtype, path);
        for (const std::string name : {"encode_1f", "encode_9f", "encode_17f", "decode_1", "decode_3", "decode_with_noise"}) {
          const fs::path dir = at / "vae" / name;
          if (!fs::exists(dir)) continue;
          auto inputs = load_case(dir / "inputs.safetensors"), expected = load_case(dir / "expected.safetensors");
          RunContext run;
          Difference d{};
          if (name.starts_with("encode")) {
            d = compare(vae.encode(inputs.at("pixels"), run), expected.at("latents_normalized"));
          } else {
            std::vector<at::Tensor> maps;
            for (const auto& [key, tensor] : inputs) {
              if (key.starts_with("inject_noise")) maps.push_back(tensor);
            }
            size_t next = 0;
            DecodeOptions options;
            if (!maps.empty()) options.injected_noise = [&](int64_t, int64_t) { return maps.at(next++).squeeze(); };
            const at::Tensor latents = inputs.at("latents_normalized");
            const auto shapes = vae.injected_noise_shapes(latents.size(3), latents.size(4));
            if (name == "decode_with_noise") {
              constexpr double kScale = 0.025;
              const at::Tensor noise = inputs.at("noise") * kScale;
              d = compare(vae.decode(latents * (1 - kScale) + noise, options, run), expected.at("pixels_noise_in_normalized_space"));
              const Difference raw = compare(vae.decode_raw(vae.denormalise(latents) * (1 - kScale) + noise, options, run),
                                             expected.at("pixels_noise_in_raw_space"));
              d = {std::max(d.max_over_std, raw.max_over_std), std::max(d.rms_relative, raw.rms_relative)};
            } else {
              d = compare(vae.decode(latents, options, run), expected.at("pixels"));
            }
            LTXV_CHECK(maps.empty() || (next == maps.size() && shapes.size() == maps.size()), dir.string(), ": ", next, " of ",
                       maps.size(), " noise maps used");
          }
          const bool ok = dtype == at::kFloat ? d.max_over_std <= 1e-4 : d.rms_relative <= 0.03;
          bad += !ok;
          std::printf("%s %s %s %s %s: max %.2e of std, rms %.2e\n", ok ? "ok " : "BAD", version.c_str(),
                      original ? "original" : "diffusers", path == VaePath::fast ? "fast" : "plain", name.c_str(), d.max_over_std, d.rms_relative);
        }
      }
    }
  }
  return bad ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "vae_oracle_check: %s\n", e.what());
  return 1;
}
