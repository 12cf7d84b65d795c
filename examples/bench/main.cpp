// ltxv-bench: times the library as a program that links it sees it. One JSON object on stdout.
//   ltxv-bench step --steps 12 --runs 5
//   ltxv-bench decode --model MODEL --shape 4,8,8 --dtype bf16
// A fresh process for each measurement: peak memory is that of the process.
#include <iostream>
#include <ltxv/ltxv.hpp>
#include <map>

#include "../large_blocks.h"
#include "measure.h"
#include "options.h"

namespace bench {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kStageNames[] = {"load", "text", "encode", "denoise", "decode", "write"};

ltxv::generate_options generate_options(const Options& o) {
  ltxv::generate_options g{.prompt = o.prompt_embeds.empty() ? o.prompt : "",
                           .prompt_embeds_path = o.prompt_embeds,
                           .negative_prompt_embeds_path = o.negative_prompt_embeds,
                           .width_px = o.width,
                           .height_px = o.height,
                           .frame_count = o.frames,
                           .step_count = o.steps,
                           .sigmas = o.sigmas,
                           .seed = o.seed,
                           .save_latents_path = o.save_latents};
  if (o.guidance >= 0) g.guidance_scale = o.guidance;
  if (o.stg_scale >= 0) g.stg_scales = {o.stg_scale};
  return g;
}

/// Lengths of the denoising steps of one call. The call ends where decoding would begin: a large model's decode would take longer
/// than the steps that are measured.
std::vector<double> step_seconds(const ltxv::engine& engine, const ltxv::generate_options& settings) {
  std::vector<double> seconds;
  Stopwatch watch;
  const auto on_progress = [&](const ltxv::progress& p) {
    if (p.stage == ltxv::stage::decode) return false;
    if (p.stage != ltxv::stage::denoise) return true;
    const double passed = watch.lap();
    if (p.step > 0) seconds.push_back(passed);
    return true;
  };
  try {
    engine.generate(settings, {.on_progress = on_progress});
  } catch (const ltxv::error& e) {
    if (e.code() != LTXV_CANCELLED) throw;
  }
  return seconds;
}

json step(const ltxv::engine& engine, const Options& o) {
  const auto settings = generate_options(o);
  json result{{"settings", json::parse(engine.resolve(settings))}};
  std::vector<double> warm, first;
  for (int run = 0; run < o.runs; ++run) {
    const auto seconds = step_seconds(engine, settings);
    // The first step of a process loads and packs weights, the first of a later run refills caches: neither is a warm step.
    if (!seconds.empty()) first.push_back(seconds.front());
    warm.insert(warm.end(), seconds.begin() + (seconds.empty() ? 0 : 1), seconds.end());
  }
  result["first_step_seconds"] = summary(first);
  result["step_seconds"] = summary(warm);
  return result;
}

/// Time from a stage's first report to the next stage's first; what comes before the first report is "start".
class StageClock {
 public:
  explicit StageClock(std::map<std::string, std::vector<double>>& into) : into_(into) {}
  bool operator()(const ltxv::progress& p) {
    const std::string name = kStageNames[static_cast<int>(p.stage)];
    if (name != current_) enter(name);
    return true;
  }
  void enter(const std::string& name) {
    spent_[current_] += watch_.lap();
    current_ = name;
  }
  void finish() {
    enter("");
    for (const auto& [name, seconds] : spent_)
      if (!name.empty()) into_[name].push_back(seconds);
  }

 private:
  std::map<std::string, std::vector<double>>& into_;
  std::map<std::string, double> spent_;
  std::string current_ = "start";
  Stopwatch watch_;
};

json generate(const ltxv::engine& engine, const Options& o) {
  const auto settings = generate_options(o);
  json result{{"settings", json::parse(engine.resolve(settings))}};
  std::vector<double> total;
  std::map<std::string, std::vector<double>> stages;
  for (int run = 0; run < o.runs; ++run) {
    Stopwatch watch;
    StageClock clock(stages);
    const auto video = engine.generate(settings, {.on_progress = std::ref(clock)});
    if (!o.output.empty()) {
      clock.enter("write");
      video.write(o.output);
    }
    clock.finish();
    total.push_back(watch.lap());
  }
  result["first_run_seconds"] = total.front();
  if (total.size() > 1) total.erase(total.begin());
  result["warm_seconds"] = summary(total);
  for (auto& [name, seconds] : stages) {
    if (seconds.size() > 1) seconds.erase(seconds.begin());
    result["stage_seconds"][name] = summary(seconds)["median"];
  }
  return result;
}

/// Calls `work` --runs times. The first call also reads and converts the weights.
template <class Work>
json repeated(const Options& o, const Work& work) {
  std::vector<double> seconds;
  json result;
  for (int run = 0; run < o.runs; ++run) {
    if (run == 1) result["peak_memory_first_mib"] = peak_memory_mib();
    // What a call needs above the weights that are there by now.
    if (run == 1) result["peak_memory_warm_alone"] = reset_peak_memory();
    Stopwatch watch;
    work();
    seconds.push_back(watch.lap());
  }
  result["first_seconds"] = seconds.front();
  seconds.erase(seconds.begin());
  result["warm_seconds"] = summary(seconds);
  return result;
}

json decode(const ltxv::engine& engine, const Options& o) {
  ltxv::tensors latents;
  if (!o.input.empty()) {
    latents = ltxv::tensors::load(o.input);
  } else {
    const std::vector<int64_t> shape{1, engine.info().latent_channel_count, o.shape[0], o.shape[1], o.shape[2]};
    latents.add("latents", shape, normal_values(static_cast<size_t>(shape[1] * shape[2] * shape[3] * shape[4]), o.seed));
  }
  const ltxv::decode_options settings{.decode_timestep = 0.05, .decode_noise_scale = 0.0, .seed = o.seed, .frames_per_second = 25};
  json result = repeated(o, [&] {
    const auto video = engine.decode(latents, settings);
    if (!o.output.empty()) video.tensors().save(o.output);
  });
  result["latents"] = latents["latents"].shape;
  return result;
}

json encode(const ltxv::engine& engine, const Options& o) {
  ltxv::tensors frames;
  if (!o.input.empty()) {
    frames = ltxv::tensors::load(o.input);
  } else {
    const std::vector<int64_t> shape{1, 3, o.shape[0], o.shape[1], o.shape[2]};
    frames.add("frames", shape, smooth_frames(o.shape[0], o.shape[1], o.shape[2]));
  }
  json result = repeated(o, [&] {
    const auto latents = engine.encode(frames);
    if (!o.output.empty()) latents.save(o.output);
  });
  result["frames"] = frames["frames"].shape;
  return result;
}

json run(const Options& o) {
  Stopwatch watch;
  const ltxv::engine engine({.model = o.model, .device = o.device, .dtype = o.dtype, .thread_count = o.threads, .cuda_graphs = o.cuda_graphs != 0,
                             .device_memory_bytes = static_cast<int64_t>(o.device_memory * (int64_t{1} << 30)),
                             .quantization = o.quantization, .attention = o.attention});
  const double open_seconds = watch.lap();
  json result{{"task", o.task},
              {"version", ltxv::version()},
              {"library", json::parse(ltxv::describe())},
              {"engine", json::parse(engine.describe())},
              {"open_seconds", open_seconds}};
  if (o.task == "step") result.update(step(engine, o));
  if (o.task == "generate") result.update(generate(engine, o));
  if (o.task == "decode") result.update(decode(engine, o));
  if (o.task == "encode") result.update(encode(engine, o));
  result["peak_memory_mib"] = peak_memory_mib();
  return result;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  keep_large_blocks();  // as `ltxv` does
  bench::Options options;
  try {
    options = bench::parse(argc, argv);
  } catch (const std::invalid_argument& e) {
    std::cerr << "ltxv-bench: " << e.what() << "\n" << bench::usage();
    return 2;
  }
  try {
    std::cout << bench::run(options).dump() << "\n";
  } catch (const std::exception& e) {
    std::cerr << "ltxv-bench: " << e.what() << "\n";
    return 1;
  }
}
