#include "commands.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "signals.h"

namespace cli {
namespace {

using nlohmann::ordered_json;

ltxv::error cancelled() { return {LTXV_CANCELLED, "cancelled"}; }

/// All of standard input without its last line feed.
std::string read_prompt_from_stdin() {
  std::string prompt;
  char block[4096];
  while (true) {
    if (!wait_for_input(STDIN_FILENO)) throw cancelled();
    const ssize_t count = read(STDIN_FILENO, block, sizeof block);
    if (count < 0) throw ltxv::error(LTXV_IO, std::string("cannot read the prompt from standard input: ") + std::strerror(errno));
    if (count == 0) break;
    prompt.append(block, static_cast<size_t>(count));
  }
  while (!prompt.empty() && (prompt.back() == '\n' || prompt.back() == '\r')) prompt.pop_back();
  if (prompt.find('\0') != std::string::npos)
    throw ltxv::error(LTXV_INVALID_ARGUMENT, "the prompt on standard input holds a zero byte");
  return prompt;
}

ordered_json parse(std::string_view text) { return ordered_json::parse(text, nullptr, /*allow_exceptions=*/false); }

/// Fills in the default model and says so.
ltxv::engine open_engine(Options& o, Reporter& reporter) {
  if (o.engine.model.empty()) {
    o.engine.model = "shapes";
    reporter.note("no model given (-m): using the bundled model 'shapes'");
  }
  ltxv::engine engine(o.engine);
  if (interrupted()) throw cancelled();
  return engine;
}

/// Errors of a check that looks at options only are wrong usage.
template <class Check>
auto as_usage(const Options& o, Check&& check) {
  try {
    return check();
  } catch (const ltxv::error& e) {
    if (e.code() == LTXV_INVALID_ARGUMENT) throw UsageError(o.command, e.what());
    throw;
  }
}

std::string size_text(int64_t frames, int64_t width, int64_t height) {
  return std::to_string(frames) + (frames == 1 ? " frame " : " frames ") + std::to_string(width) + "x" +
         std::to_string(height);
}

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Values of a resolved request, read leniently: they are only shown.
int64_t number_at(const ordered_json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_number() ? object[key].get<int64_t>() : 0;
}

void note_padding(const ordered_json& request, Reporter& reporter) {
  if (!request.is_object() || !request.contains("computed")) return;
  const auto size_of = [](const ordered_json& size) {
    return size_text(number_at(size, "num_frames"), number_at(size, "width"), number_at(size, "height"));
  };
  const ordered_json& computed = request["computed"];
  if (request.contains("pass2_computed")) {
    const std::string last = size_of(request["pass2_computed"]), asked = size_of(request);
    reporter.note("two passes: " + size_of(computed) + ", then " + last + (last == asked ? "" : ", made " + asked + " of it"));
    return;
  }
  reporter.note("asked for " + size_of(request) + ", which is off the model's grid: computing " + size_of(computed) + ", then cropping");
}

void generate(Options& o, Reporter& reporter, const ltxv::cancel_token& cancel) {
  const Stopwatch watch;
  if (!o.print_request) as_usage(o, [&] { ltxv::check_output(o.output); });
  o.generate.prompt = o.input == "-" ? read_prompt_from_stdin() : o.input;
  const ltxv::engine engine = open_engine(o, reporter);
  ordered_json request = parse(as_usage(o, [&] { return engine.resolve(o.generate); }));
  if (o.print_request) {
    const auto replace = ordered_json::error_handler_t::replace;
    reporter.result(request.dump(2, ' ', false, replace), request);
    return;
  }
  note_padding(request, reporter);
  engine.generate_file(o.generate, o.output, reporter.hooks(cancel));
  const int64_t frames = number_at(request, "num_frames"), width = number_at(request, "width"), height = number_at(request, "height");
  const double rate = request.is_object() ? request.value("frame_rate", 0.0) : 0.0;
  const uint64_t seed = request.is_object() && request.contains("seed") ? request["seed"].get<uint64_t>() : 0;
  int64_t steps = number_at(request, "num_inference_steps");
  if (request.is_object() && request.contains("pass2_sigmas")) steps += static_cast<int64_t>(request["pass2_sigmas"].size());
  reporter.note(o.output + ": " + size_text(frames, width, height) + " at " + number_text(rate) + " fps, seed " + std::to_string(seed) + ", " +
                std::to_string(steps) + " steps, " + duration_text(watch.seconds()));
  reporter.result(o.output, {{"event", "result"},
                             {"output", o.output},
                             {"seed", seed},
                             {"width", width},
                             {"height", height},
                             {"frames", frames},
                             {"fps", rate},
                             {"steps", steps},
                             {"seconds", watch.seconds()},
                             {"request", request}});
}

void embed(Options& o, Reporter& reporter, const ltxv::cancel_token& cancel) {
  const Stopwatch watch;
  as_usage(o, [&] { ltxv::check_output(o.output); });
  const std::string prompt = o.input == "-" ? read_prompt_from_stdin() : o.input;
  const ltxv::engine engine = open_engine(o, reporter);
  const ltxv::tensors embeds = engine.embed(prompt, o.generate.max_text_tokens, reporter.hooks(cancel));
  embeds.save(o.output);
  const auto shape = embeds["prompt_embeds"].shape;
  reporter.result(o.output, {{"event", "result"},
                             {"output", o.output},
                             {"tokens", shape[1]},
                             {"width", shape[2]},
                             {"seconds", watch.seconds()}});
}

/// The largest size on the model's grid inside the picture, unless sizes are given; frames are cut to k * temporal + 1.
ltxv::video read_on_grid(const Options& o, const ltxv::engine& engine, Reporter& reporter) {
  const auto grid = engine.info();
  const auto down = [](int32_t value, int32_t step) { return std::max(value / step, 1) * step; };
  ltxv::video video = ltxv::video::read(o.input, o.generate.width_px, o.generate.height_px, o.generate.frame_count);
  if (o.input.ends_with(".safetensors")) return video;  // exact data: the library refuses what is off the grid
  auto facts = video.info();
  const int32_t width = o.generate.width_px > 0 ? o.generate.width_px : down(facts.width_px, grid.spatial_compression);
  const int32_t height =
      o.generate.height_px > 0 ? o.generate.height_px : down(facts.height_px, grid.spatial_compression);
  const int32_t frames = (facts.frame_count - 1) / grid.temporal_compression * grid.temporal_compression + 1;
  if (width == facts.width_px && height == facts.height_px && frames == facts.frame_count) return video;
  reporter.note(o.input + ": " + size_text(facts.frame_count, facts.width_px, facts.height_px) +
                ", fitted to the model's grid: " + size_text(frames, width, height));
  return ltxv::video::read(o.input, width, height, frames);
}

void save_latents(const ltxv::tensors& latents, const Options& o, Reporter& reporter, const Stopwatch& watch) {
  if (interrupted()) throw cancelled();
  latents.save(o.output);
  const auto shape = latents["latents"].shape;
  reporter.result(o.output, {{"event", "result"},
                             {"output", o.output},
                             {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                             {"seconds", watch.seconds()}});
}

void encode(Options& o, Reporter& reporter, const ltxv::cancel_token& cancel) {
  const Stopwatch watch;
  as_usage(o, [&] { ltxv::check_output(o.output); });
  const ltxv::engine engine = open_engine(o, reporter);
  const ltxv::video video = read_on_grid(o, engine, reporter);
  const ltxv::tensors latents = engine.encode(video.tensors(), reporter.hooks(cancel));
  save_latents(latents, o, reporter, watch);
}

void upscale(Options& o, Reporter& reporter, const ltxv::cancel_token& cancel) {
  const Stopwatch watch;
  as_usage(o, [&] { ltxv::check_output(o.output); });
  const ltxv::engine engine = open_engine(o, reporter);
  const ltxv::tensors latents =
      engine.upscale(ltxv::tensors::load(o.input), o.generate.second_pass.adain.value_or(0), reporter.hooks(cancel));
  save_latents(latents, o, reporter, watch);
}

void decode(Options& o, Reporter& reporter, const ltxv::cancel_token& cancel) {
  const Stopwatch watch;
  as_usage(o, [&] { ltxv::check_output(o.output); });
  const ltxv::engine engine = open_engine(o, reporter);
  const ltxv::tensors latents = ltxv::tensors::load(o.input);
  const ltxv::video video = engine.decode(latents,
                                          {.decode_timestep = o.generate.decode_timestep,
                                           .decode_noise_scale = o.generate.decode_noise_scale,
                                           .seed = o.generate.seed.value_or(0),
                                           .noise_path = o.generate.noise_path,
                                           .frames_per_second = o.generate.frames_per_second,
                                           .decode_noise_space = o.generate.decode_noise_space},
                                          reporter.hooks(cancel));
  video.write(o.output, 0, reporter.hooks(cancel));
  const auto facts = video.info();
  reporter.note(o.output + ": " + size_text(facts.frame_count, facts.width_px, facts.height_px) + " at " +
                number_text(facts.frames_per_second) + " fps, " + duration_text(watch.seconds()));
  reporter.result(o.output, {{"event", "result"},
                             {"output", o.output},
                             {"width", facts.width_px},
                             {"height", facts.height_px},
                             {"frames", facts.frame_count},
                             {"fps", facts.frames_per_second},
                             {"seconds", watch.seconds()}});
}

void convert(const Options& o, Reporter& reporter, const ltxv::cancel_token& cancel) {
  const Stopwatch watch;
  const ordered_json report = parse(as_usage(o, [&] {
    return ltxv::convert_files({.paths = o.inputs, .release = o.engine.release, .output = o.output, .dtype = o.convert_dtype, .names = o.convert_names},
                               reporter.hooks(cancel));
  }));
  for (const ordered_json& path : report["left_out"])
    reporter.note(path.get<std::string>() + ": has no place in this form; give it apart where the file is used");
  ordered_json result{{"event", "result"}};
  result.update(report);
  result["seconds"] = watch.seconds();
  reporter.result(o.output, result);
}

}  // namespace

void run_command(Options& options, Reporter& reporter, const ltxv::cancel_token& cancel) {
  if (options.command == "generate") return generate(options, reporter, cancel);
  if (options.command == "embed") return embed(options, reporter, cancel);
  if (options.command == "encode") return encode(options, reporter, cancel);
  if (options.command == "upscale") return upscale(options, reporter, cancel);
  if (options.command == "decode") return decode(options, reporter, cancel);
  if (options.command == "convert") return convert(options, reporter, cancel);
  if (options.command == "doctor") return run_doctor(options, reporter, cancel);
  run_info(options, reporter);
}

}  // namespace cli
