// Every option of every command, in the order of the help pages. One long file on purpose: the parser's templates cost
// ten seconds a file, and this is the only one that includes them.
#include "options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <regex>

#include "help.h"
#include "terminal.h"

namespace cli {
namespace {

/// Strict: the whole word is one number, without sign tricks, hexadecimal, blanks or the locale's comma.
template <class T>
T parse_number(const std::string& option, const std::string& word, T lowest, T highest, const char* range) {
  T value{};
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  bool good = problem == std::errc() && end == word.data() + word.size() && value >= lowest && value <= highest;
  if constexpr (std::is_floating_point_v<T>) good = good && std::isfinite(value);
  if (!good) throw CLI::ValidationError(option, "'" + word + "' is not " + range);
  return value;
}

struct Commands {
  CLI::App app{"Text to video with the LTX-Video models, on LibTorch, without Python."};
  Options options;
  bool show_version = false, any_version = false;
  std::optional<std::string> input, request_prompt;
  std::string request_path, image_path, prompts_path;
  std::vector<std::string> condition_words, lora_words;

  // One function a kind of option: name with metavar, help, where it goes.
  CLI::Option* text(CLI::App* to, const std::string& names, const std::string& metavar, std::string& target,
                    const std::string& help) {
    return to
        ->add_option_function<std::string>(
            names,
            [&target, names](const std::string& word) {
              if (word.empty()) throw CLI::ValidationError(names.substr(names.rfind("--")), "is empty");
              target = word;
            },
            help)
        ->type_name(metavar)
        ->take_last();
  }
  template <class Target>
  CLI::Option* real(CLI::App* to, const std::string& name, Target& target, double lowest, double highest,
                    const char* range, const std::string& help) {
    return to
        ->add_option_function<std::string>(
            name,
            [&target, name, lowest, highest, range](const std::string& word) {
              target = parse_number<double>(name, word, lowest, highest, range);
            },
            help)
        ->type_name("X")
        ->take_last();
  }
  CLI::Option* numbers(CLI::App* to, const std::string& name, std::vector<double>& target, double lowest,
                       double highest, const char* range, const std::string& help) {
    return to
        ->add_option_function<std::string>(
            name,
            [&target, name, lowest, highest, range](const std::string& words) {
              target.clear();
              for (size_t at = 0; at <= words.size();) {
                const size_t end = std::min(words.find(',', at), words.size());
                target.push_back(parse_number<double>(name, words.substr(at, end - at), lowest, highest, range));
                at = end + 1;
              }
            },
            help)
        ->type_name("A,B,...")
        ->take_last();
  }
  template <class Target>
  CLI::Option* count(CLI::App* to, const std::string& name, Target& target, const std::string& help,
                     int32_t highest = 1 << 20, int32_t lowest = 1) {
    return to
        ->add_option_function<std::string>(
            name,
            [&target, name, highest, lowest](const std::string& word) {
              const std::string range = "a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest);
              target = parse_number<int32_t>(name, word, lowest, highest, range.c_str());
            },
            help)
        ->type_name("N")
        ->take_last();
  }
  /// A count of which 0 is "none", whatever a preset or a request file says.
  template <class Target>
  CLI::Option* count_or_none(CLI::App* to, const std::string& name, Target& target, const std::string& help, int32_t highest) {
    return count(to, name, target, help, highest, 0);
  }
  /// --name and --no-name; neither leaves it to the preset.
  CLI::Option* toggle(CLI::App* to, const std::string& name, std::optional<bool>& target, const std::string& help) {
    return to
        ->add_flag_function("--" + name + ",!--no-" + name, [&target](int64_t given) { target = given > 0; }, help)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  template <class Target>
  CLI::Option* seed(CLI::App* to, Target& target, const std::string& help) {
    return to
        ->add_option_function<std::string>(
            "--seed",
            [&target](const std::string& word) {
              target = parse_number<uint64_t>("--seed", word, 0, std::numeric_limits<uint64_t>::max(),
                                              "a whole number from 0 to 18446744073709551615");
            },
            help)
        ->type_name("K")
        ->take_last();
  }
  CLI::Option* choice(CLI::App* to, const std::string& name, std::string& target,
                      std::function<bool(const std::string&)> allowed, const std::string& list,
                      const std::string& help) {
    return to
        ->add_option_function<std::string>(
            name,
            [&target, name, allowed, list](const std::string& word) {
              if (!allowed(word)) throw CLI::ValidationError(name, "'" + word + "' is not one of " + list);
              target = word;
            },
            help)
        ->type_name("NAME")
        ->take_last();
  }

  /// A choice from a short list, which the help and the error name.
  CLI::Option* words(CLI::App* to, const std::string& name, std::string& target, std::vector<std::string> allowed, const std::string& help) {
    std::string list;
    for (const std::string& word : allowed) list += (list.empty() ? "" : ", ") + word;
    const auto known = [allowed](const std::string& w) { return std::find(allowed.begin(), allowed.end(), w) != allowed.end(); };
    return choice(to, name, target, known, list, help);
  }

  // Groups shared by commands.
  void add_model(CLI::App* to) {
    auto& e = options.engine;
    text(to, "-m,--model", "MODEL", e.model,
         "folder in diffusers' layout, .safetensors or .gguf file, or a bundled name (default: the bundled model 'shapes')")
        ->group("model");
    text(to, "--text-encoder", "PATH", e.text_encoder, "text encoder from another place: a folder, a .safetensors or a .gguf file")->group("model");
    text(to, "--tokenizer", "PATH", e.tokenizer, "tokenizer from another place")->group("model");
    text(to, "--transformer", "PATH", e.transformer, "transformer from another place: a folder, a .safetensors or a .gguf file")->group("model");
    text(to, "--release", "NAME", e.release, "release of a file that does not describe itself: a name, or a .json file (docs/models.md)")
        ->group("model");
    text(to, "--vae", "PATH", e.vae, "VAE from another place: a folder, or a file that holds one")->group("model");
    if (to->get_name() == "generate" || to->get_name() == "upscale")
      to->add_option("--upscaler", e.upscalers,
                     "latent upsampler, file or folder: makes the video in two passes, the first one smaller (or with half the "
                     "frames). May be repeated")
          ->type_name("PATH")
          ->take_all()
          ->allow_extra_args(false)
          ->group("two passes");
    choice(
        to, "--device", e.device,
        [](const std::string& words) {
          static const std::regex allowed("auto|(cpu|cuda(:[0-9]{1,3})?)(,(cpu|cuda(:[0-9]{1,3})?))*");
          return std::regex_match(words, allowed);
        },
        "auto, cpu, cuda, cuda:0, cuda:1, ..., or several with commas between them",
        "auto, cpu, cuda or cuda:I (default: auto, a CUDA device where one can be used); cuda:0,cuda:1 computes each step on both")
        ->group("model");
    to->add_option_function<std::string>(
          "--device-memory",
          [&e](const std::string& word) {
            const double gib = parse_number<double>("--device-memory", word, 0.5, 4096, "a number from 0.5 to 4096");
            e.device_memory_bytes = static_cast<int64_t>(gib * (int64_t{1} << 30));
          },
          "use at most so many GiB of a CUDA device's memory (default: all of it)")
        ->type_name("GIB")
        ->take_last()
        ->group("model");
    to->add_flag("--cuda-graphs", e.cuda_graphs, "record a prediction once and replay it, on a CUDA device")->group("model");
    choice(
        to, "--dtype", e.dtype,
        [](const std::string& w) { return w == "auto" || w == "fp32" || w == "bf16" || w == "fp16"; },
        "auto, fp32, bf16, fp16", "number format of the computation: auto, fp32, bf16, fp16 (default: auto)")
        ->group("model");
    choice(
        to, "--quantization", e.quantization, [](const std::string& w) { return w == "none" || w == "fp8" || w == "int8"; }, "none, fp8, int8",
        "eight-bit products in the transformer: none, fp8, int8 (CPU only): faster, less exact (default: none)")
        ->group("model");
    choice(
        to, "--attention", e.attention, [](const std::string& w) { return w == "exact" || w == "int8"; }, "exact, int8",
        "the transformer's self-attention: exact, int8: eight bits, for CUDA devices (default: exact)")
        ->group("model");
    count(to, "--threads", e.thread_count, "compute threads (default: physical cores)", 1024)->group("model");
  }
  void add_general(CLI::App* to) {
    to->add_flag("-q,--quiet", options.quiet, "no progress, no notes; errors stay")->group("general");
    to->add_flag("--json", options.json, "one JSON object a line on stdout: progress, log, result or error")
        ->group("general");
    to->set_help_flag("-h,--help", "this page")->group("general");
  }
  void add_input(CLI::App* to, const std::string& name, const std::string& help) {
    to->add_option_function<std::string>(
        name, [this](const std::string& word) { input = word; }, help);
  }
  void add_output(CLI::App* to, const std::string& help) {
    text(to, "-o,--output", "OUT", options.output, help)->group("general");
  }
  void add_sizes(CLI::App* to) {
    auto& g = options.generate;
    count(to, "--width", g.width_px, "pixels; a size off the model's grid is computed larger, then cropped", 8192)
        ->group("size");
    count(to, "--height", g.height_px, "pixels", 8192)->group("size");
    auto* frames = count(to, "--frames", g.frame_count, "number of frames")->group("size");
    real(to, "--seconds", g.seconds, 1e-3, 1e6, "a number from 0.001 to 1000000", "length instead of --frames")
        ->group("size")
        ->excludes(frames);
  }
  void add_rate(CLI::App* to) {
    real(to, "--fps", options.generate.frames_per_second, 0.01, 1000, "a number from 0.01 to 1000", "frames per second")
        ->group("size");
  }
  void add_decoder(CLI::App* to) {
    auto& g = options.generate;
    real(to, "--decode-timestep", g.decode_timestep, 0, 1, "a number from 0 to 1",
         "timestep of a timestep-conditioned decoder")
        ->group("decoder");
    real(to, "--decode-noise-scale", g.decode_noise_scale, 0, 1, "a number from 0 to 1",
         "noise mixed into the latents before decoding")
        ->group("decoder");
    words(to, "--decode-noise-space", g.decode_noise_space, {"normalised", "raw"},
          "where it is mixed in: normalised as the official code does (default), raw as diffusers does")
        ->group("decoder");
  }

  void add_second_pass(CLI::App* c) {
    auto& g = options.generate;
    auto& p = g.second_pass;
    const char* group = "two passes";
    count(c, "--passes", g.pass_count, "1 or 2 (default: 2 with --upscaler)", 2)->group(group);
    real(c, "--downscale", p.downscale, 0.01, 1, "a number from 0.01 to 1",
         "side of the first pass over that of the video (default: 0.6666666 with a spatial upsampler)")
        ->group(group);
    real(c, "--adain", p.adain, 0, 1, "a number from 0 to 1",
         "how far the enlarged latents take on the colours and contrast of the first pass (default: 1)")
        ->group(group);
    real(c, "--tone-map", p.tone_map, 0, 1, "a number from 0 to 1", "compresses the tones of the last pass (default: the preset's, or 0)")
        ->group(group);
    auto* steps = count(c, "--pass2-steps", p.step_count, "steps of the second pass's whole schedule", 1000)->group(group);
    numbers(c, "--pass2-sigmas", p.sigmas, 1e-9, 1, "a number above 0, at most 1 (a list looks like 1,0.75,0.5)",
            "its noise levels instead (default: the preset's, or 0.9094,0.725,0.4219)")
        ->group(group)
        ->excludes(steps);
    count_or_none(c, "--pass2-skip-first-steps", p.skip_first_steps, "leave out its first N steps: less is changed", 1000)
        ->group(group);
    count_or_none(c, "--pass2-skip-last-steps", p.skip_last_steps, "leave out its last N steps", 1000)->group(group);
    numbers(c, "--pass2-guidance", p.guidance_scales, 0, 1000, "a number from 0 to 1000",
            "as --guidance; this and the following are the first pass's where nothing is said")
        ->group(group);
    numbers(c, "--pass2-guidance-rescale", p.guidance_rescales, 0, 1, "a number from 0 to 1", "as --guidance-rescale")->group(group);
    numbers(c, "--pass2-guidance-timesteps", p.guidance_timesteps, 0, 1, "a number from 0 to 1", "as --guidance-timesteps")
        ->group(group);
    numbers(c, "--pass2-stg-scale", p.stg_scales, 0, 1000, "a number from 0 to 1000", "as --stg-scale")->group(group);
    text(c, "--pass2-stg-mode", "NAME", p.stg_mode, "as --stg-mode")->group(group);
    text(c, "--pass2-skip-blocks", "LIST", p.skip_blocks, "as --skip-blocks")->group(group);
    toggle(c, "pass2-cfg-star", p.cfg_star, "as --cfg-star")->group(group);
    toggle(c, "pass2-stochastic", p.stochastic, "as --stochastic")->group(group);
  }

  // Commands.
  CLI::App* add_command(const char* name, const char* help) {
    auto* command = app.add_subcommand(name, help);
    command->callback([this, name] { options.command = name; });
    return command;
  }
  void add_generate() {
    auto* c = add_command("generate", "Make a video from a prompt.");
    auto& g = options.generate;
    add_input(c, "PROMPT", "what to show; - reads it from standard input");
    c->add_option_function<std::string>("--prompt", [this](const std::string& word) {
       request_prompt = word;
     })->group("");  // --request
    add_output(
        c,
        ".mp4 .mkv .webm .gif .png .safetensors (default: out.mp4). A .png name with %04d gives one picture a frame, "
        "another .png a contact sheet, .safetensors the unclamped `frames`");
    seed(c, g.seed, "any whole number; the same seed gives the same video")->group("sampling");
    auto* steps =
        count(c, "--steps", g.step_count, "sampling steps: more is slower and usually better", 1000)->group("sampling");
    numbers(c, "--sigmas", g.sigmas, 1e-9, 1, "a number above 0, at most 1 (a list looks like 1,0.75,0.5)",
            "explicit noise levels instead of --steps, descending, for instance 1,0.75,0.5")
        ->group("sampling")
        ->excludes(steps);
    const char* bins = "; a comma list has one entry for each of --guidance-timesteps";
    numbers(c, "--guidance", g.guidance_scales, 0, 1000, "a number from 0 to 1000",
            std::string("how strictly the prompt is followed; 1 switches guidance off") + bins)
        ->group("sampling");
    numbers(c, "--guidance-rescale", g.guidance_rescales, 0, 1, "a number from 0 to 1",
            "tones down what strong guidance overdoes")
        ->group("sampling");
    numbers(c, "--guidance-timesteps", g.guidance_timesteps, 0, 1, "a number from 0 to 1",
            "noise levels, descending, from which the entries of guidance lists hold")
        ->group("sampling");
    numbers(c, "--stg-scale", g.stg_scales, 0, 1000, "a number from 0 to 1000",
            "spatio-temporal guidance: steadier shapes and motion for one more prediction a step")
        ->group("sampling");
    choice(
        c, "--stg-mode", g.stg_mode,
        [](const std::string& w) {
          return w == "attention_values" || w == "attention_skip" || w == "residual" || w == "transformer_block";
        },
        "attention_values, attention_skip, residual, transformer_block",
        "what the perturbed prediction leaves out (default: attention_values)")
        ->group("sampling");
    text(c, "--skip-blocks", "LIST", g.skip_blocks,
         "transformer blocks it is left out of, for instance 19 or 11,25,35;22")
        ->group("sampling");
    toggle(c, "cfg-star", g.cfg_star, "project the negative prediction on the positive one first")->group("sampling");
    toggle(c, "stochastic", g.stochastic, "fresh noise after every step, as some distilled models want")->group("sampling");
    count_or_none(c, "--skip-first-steps", g.skip_first_steps, "leave out the first N steps; needs --input-video", 1000)
        ->group("sampling");
    count_or_none(c, "--skip-last-steps", g.skip_last_steps, "leave out the last N steps; 0 leaves out none of a preset's", 1000)
        ->group("sampling");
    c->add_option_function<std::string>(
         "--negative", [&g](const std::string& word) { g.negative_prompt = word; }, "what not to show")
        ->type_name("PROMPT")
        ->take_last()
        ->group("sampling");
    text(c, "--preset", "NAME", g.preset, "one of the model's presets ('ltxv info MODEL' lists them)")
        ->group("sampling");
    count(c, "--max-text-tokens", g.max_text_tokens, "longest prompt in tokens", 4096)->group("sampling");
    add_sizes(c);
    add_rate(c);
    c->add_option("--condition", condition_words,
                  "image, clip or .safetensors that the video contains from frame FRAME on; "
                  "STRENGTH 1 (the default) keeps it exactly. May be repeated")
        ->type_name("PATH@FRAME[:STRENGTH]")
        ->group("start from pictures")
        ->take_all()
        ->allow_extra_args(false);
    text(c, "--image", "PATH", image_path, "the first frame: short for --condition PATH@0")
        ->group("start from pictures");
    real(c, "--image-noise-scale", g.image_noise_scale, 0, 1, "a number from 0 to 1",
         "noise added to given frames, for livelier motion")
        ->group("start from pictures");
    text(c, "--input-video", "PATH", g.input_video_path,
         "start from this video, image, or .safetensors with `frames` or `latents`")
        ->group("start from pictures");
    real(c, "--strength", g.strength, 0, 1, "a number from 0 to 1",
         "how much of the schedule runs on --input-video; 1 is all of it")
        ->group("start from pictures");
    words(c, "--image-prep", g.image_prep, {"plain", "official", "diffusers"},
          "how pictures are brought to size: plain crops and resizes (default); official also softens and compresses them "
          "as LTX-Video's own program does; diffusers stretches with Lanczos")
        ->group("start from pictures");
    c->add_option_function<std::string>(
         "--image-crf",
         [&g](const std::string& word) {
           g.image_crf = parse_number<int32_t>("--image-crf", word, 0, 51, "a whole number from 0 to 51");
         },
         "how strongly official pictures are compressed; 0 leaves compression out (default: 29)")
        ->type_name("N")
        ->take_last()
        ->group("start from pictures");
    text(c, "--mask", "PATH", g.mask_path,
         "image, clip or .safetensors (`mask`): white parts of --input-video are generated anew, black ones stay")
        ->group("inpaint and outpaint");
    c->add_flag("--outpaint", g.outpaint,
                "fit --input-video inside the frame and generate what it does not cover, at its sides and behind its end")
        ->group("inpaint and outpaint");
    count_or_none(c, "--mask-blend", g.mask_blend, "let N latent cells around the mask change too, less with distance", 64)
        ->group("inpaint and outpaint");
    c->add_flag("--composite", g.composite, "copy the pixels that stay from --input-video, frame by frame")
        ->group("inpaint and outpaint");
    count_or_none(c, "--window-frames", g.window_frames,
                  "make a long video in overlapping windows of N frames; PROMPT holds one prompt a window, separated by |, the last repeats",
                  1 << 20)
        ->group("long videos");
    count(c, "--window-overlap", g.window_overlap, "frames a window shares with the one before (default: 24)")
        ->group("long videos");
    real(c, "--window-strength", g.window_strength, 0, 1, "a number from 0 to 1", "how closely those are kept (default: 0.5)")
        ->group("long videos");
    real(c, "--window-match", g.window_match, 0, 1, "a number from 0 to 1",
         "how far colours and contrast of a window are moved to the first one's (default: 0.25)")
        ->group("long videos");
    real(c, "--window-eta", g.window_eta, 0, 1, "a number from 0 to 1", "fresh noise of each step (default: 1)")
        ->group("long videos");
    text(c, "--prompts-file", "FILE", prompts_path, "one prompt a line, one line a window; instead of PROMPT")
        ->group("long videos");
    c->add_option("--lora", lora_words,
                  "LoRA file merged into the transformer for this run; SCALE (default 1) is how strongly. May be repeated")
        ->type_name("PATH[:SCALE]")
        ->group("adapt the model")
        ->take_all()
        ->allow_extra_args(false);
    text(c, "--control", "PATH", g.control_path,
         "clip, still or .safetensors that an in-context LoRA follows (depth, pose, edges, a clip to refine); as long as the video")
        ->group("adapt the model");
    real(c, "--control-strength", g.control_strength, 1e-6, 1, "a number above 0, at most 1",
         "1 (the default) shows it to the model as it is, less mixes it with noise")
        ->group("adapt the model");
    add_second_pass(c);
    add_decoder(c);
    words(c, "--text-padding", g.text_padding, {"masked", "attended"},
          "whether prompt tokens see the padding behind them: masked as the official code (default), attended as three of "
          "diffusers' pipelines")
        ->group("reproduce");
    words(c, "--frame-positions", g.frame_positions, {"model", "causal", "plain"},
          "where latent frames lie in time: as the model says (default), causal, or plain as diffusers' first pipelines")
        ->group("reproduce");
    text(c, "--noise", "FILE", g.noise_path, "take every random draw by name from this .safetensors")
        ->group("reproduce");
    text(c, "--save-noise", "FILE", g.save_noise_path, "write the random draws of this run")->group("reproduce");
    text(c, "--save-latents", "FILE", g.save_latents_path, "write the denoised latents before decoding")
        ->group("reproduce");
    text(c, "--prompt-embeds", "FILE", g.prompt_embeds_path, "made by 'ltxv embed', instead of PROMPT; with --window-frames one file a window, separated by |, the last repeats")
        ->group("reproduce");
    text(c, "--negative-prompt-embeds", "FILE", g.negative_prompt_embeds_path,
         "made by 'ltxv embed', instead of --negative")
        ->group("reproduce");
    c->add_option_function<std::string>(
         "--noise-kind",
         [&g](const std::string& word) {
           if (word != "torch" && word != "torch_tokens")
             throw CLI::ValidationError("--noise-kind", "'" + word + "' is not one of torch, torch_tokens");
           g.noise_kind = word == "torch" ? ltxv::noise_kind::torch : ltxv::noise_kind::torch_tokens;
         },
         "how noise follows from the seed: torch as diffusers draws it (the default), torch_tokens as the official "
         "code does")
        ->type_name("NAME")
        ->take_last()
        ->group("reproduce");
    text(c, "--request", "FILE", request_path,
         "options from a JSON file, as --print-request writes; options given here win")
        ->group("reproduce");
    c->add_flag("--print-request", options.print_request, "print every resolved value as JSON and stop")
        ->group("reproduce");
    add_model(c);
    add_general(c);
  }
  void add_others() {
    auto* embed =
        add_command("embed", "Turn a prompt into embeddings: prompt_embeds [1,S,D] and prompt_attention_mask [1,S].");
    add_input(embed, "PROMPT", "text; - reads it from standard input");
    add_output(embed, ".safetensors, required");
    count(embed, "--max-text-tokens", options.generate.max_text_tokens, "longest prompt in tokens", 4096)
        ->group("general");
    add_model(embed);
    add_general(embed);

    auto* encode = add_command("encode", "Turn a video, an image or `frames` into normalised latents [1,C,T,H,W].");
    add_input(encode, "IN", "video, image, %04d sequence, or .safetensors with `frames` f32 [1,3,T,H,W] in [-1,1]");
    add_output(encode, ".safetensors, required");
    count(encode, "--width", options.generate.width_px,
          "crop and resize to this width (default: as it is, cropped to the grid)", 16384)
        ->group("size");
    count(encode, "--height", options.generate.height_px, "and this height", 16384)->group("size");
    count(encode, "--frames", options.generate.frame_count, "use at most the first N frames")->group("size");
    add_model(encode);
    add_general(encode);

    auto* decode = add_command("decode", "Turn latents [1,C,T,H,W] into a video.");
    add_input(decode, "LATENTS", ".safetensors with `latents` f32 [1,C,T,H,W], normalised");
    add_output(decode, ".mp4 .mkv .webm .gif .png .safetensors (default: out.mp4)");
    add_rate(decode);
    add_decoder(decode);
    seed(decode, options.generate.seed, "of the decoder's own noise")->group("decoder");
    text(decode, "--noise", "FILE", options.generate.noise_path,
         "take the decoder's random draws from this .safetensors")
        ->group("decoder");
    add_model(decode);
    add_general(decode);

    auto* upscale = add_command("upscale", "Enlarge latents [1,C,T,H,W] with a latent upsampler.");
    add_input(upscale, "LATENTS", ".safetensors with `latents` f32 [1,C,T,H,W], normalised");
    add_output(upscale, ".safetensors, required");
    real(upscale, "--adain", options.generate.second_pass.adain, 0, 1, "a number from 0 to 1",
         "how far the result takes on the colours and contrast of what was given (default: 0)")
        ->group("two passes");
    add_model(upscale);
    add_general(upscale);

    auto* replay = add_command("replay", "Make a file again from the settings stored in it: the same bits, with the same build and model files.");
    add_input(replay, "FILE", "a video, .gif, .png or .safetensors that generate wrote");
    add_output(replay, "another kind of file may be asked for (default: FILE with -replay before its extension)");
    replay->add_flag("--any-version", any_version, "also settings stored by another version, which may not give the same video")
        ->group("general");
    add_general(replay);

    auto* info = add_command("info", "Say what a model, a model file, a clip or this build is.");
    add_input(info, "MODEL", "model folder, model file, clip or bundled name; nothing: this build");
    add_general(info);

    auto* convert = add_command("convert", "Write model files in another form, tensor by tensor.");
    convert->add_option("IN", options.inputs, "a model folder, a checkpoint, or parts apart: .safetensors, .gguf, component folders, a bundled name; or one LoRA or latent upsampler");
    text(convert, "-o,--output", "OUT", options.output,
         ".safetensors: the original one-file form; .gguf: the transformer (or a text encoder alone); anything else: a folder in diffusers' layout")
        ->group("general");
    words(convert, "--dtype", options.convert_dtype, {"fp32", "bf16", "fp16", "fp8_e4m3", "q8_0"},
          "number format of the weights: fp32, bf16, fp16, fp8_e4m3 (with scales), q8_0 (only .gguf) (default: as stored)")
        ->group("general");
    words(convert, "--names", options.convert_names, {"diffusers", "peft", "comfyui", "kohya"},
          "names of a LoRA's tensors: diffusers (the same as peft), comfyui, kohya (default: as stored)")
        ->group("general");
    text(convert, "--release", "NAME", options.engine.release, "release of files that do not describe themselves (docs/models.md)")
        ->group("general");
    add_general(convert);

    auto* doctor = add_command("doctor", "Say what is wrong with files: each by itself, and whether they belong together.");
    doctor->add_option("FILE", options.inputs, "model folders, component folders, files of any part, LoRAs, upsamplers, bundled names");
    doctor->add_flag("--kernels", options.kernels, "report which kernels this build chooses, and why, instead of looking at files")
        ->group("general");
    doctor->add_flag("--headers-only", options.headers_only, "leave the values unread: names, shapes and descriptions only")->group("general");
    text(doctor, "--release", "NAME", options.engine.release, "release of files that do not describe themselves (docs/models.md)")
        ->group("general");
    add_general(doctor);
  }

  Commands() {
    app.set_help_flag("-h,--help", "this page");
    app.add_flag("--version", show_version, "the version");
    add_generate();
    add_others();
    // Words nobody knows are collected, to be reported in one line with the nearest one that exists.
    app.allow_extras();
    for (CLI::App* command : app.get_subcommands({})) command->allow_extras();
  }
};

// Help pages.

HelpPage page_of(CLI::App& app, const std::string& command) {
  HelpPage page;
  page.usage = command.empty() ? "ltxv COMMAND [OPTIONS]" : "ltxv " + command;
  page.description = app.get_description();
  HelpPage::Group words{"arguments", {}};
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    page.usage += command == "info" ? " [" + option->get_name(true) + "]" : " " + option->get_name(true) + (command == "doctor" || command == "convert" ? "..." : "");
    words.rows.push_back({option->get_name(true), option->get_description()});
  }
  if (!command.empty()) page.usage += " [OPTIONS]";
  if (!words.rows.empty()) page.groups.push_back(words);
  if (command.empty()) {
    HelpPage::Group commands{"commands", {}};
    for (const CLI::App* sub : app.get_subcommands({}))
      commands.rows.push_back({sub->get_name(), sub->get_description()});
    page.groups.push_back(commands);
  }
  for (const std::string& name : app.get_groups()) {
    HelpPage::Group group{name == "Options" ? "options" : name, {}};
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_positional() || option->get_group() != name) continue;
      std::string left = option->get_snames().empty() ? "" : "-" + option->get_snames().front() + ", ";
      left += "--" + option->get_lnames().front();
      if (!option->get_fnames().empty()) left += " | --" + option->get_fnames().front();
      if (option->get_type_size() != 0) left += " " + option->get_type_name();
      group.rows.push_back({left, option->get_description()});
    }
    if (!group.rows.empty() && !name.empty()) page.groups.push_back(group);
  }
  page.footer = help_examples(command);
  return page;
}

// Errors.

/// One line on words the parser could not place, with the nearest word that exists.
std::string describe_extras(const CLI::App& app, const std::string& command, const std::vector<std::string>& extras) {
  const std::string& word = extras.front();
  std::vector<std::string> known;
  if (word.starts_with("-") && word.size() > 1) {
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
    const std::string bare = word.substr(0, word.find('='));
    if (std::find(known.begin(), known.end(), bare) != known.end())
      return bare + " must stand behind the command: ltxv " + command + " " + bare;
    const std::string near = closest_word(bare, known);
    return "unknown option " + bare + (near.empty() ? "" : "; did you mean " + near + "?");
  }
  if (command.empty()) {
    for (const CLI::App* sub : app.get_subcommands({})) known.push_back(sub->get_name());
    const std::string near = closest_word(word, known);
    return "unknown command '" + word + "'" + (near.empty() ? "" : "; did you mean " + near + "?");
  }
  return "unexpected '" + word + "'" +
         (command == "generate" || command == "embed" ? "; put the prompt in quotes" : "");
}

ltxv::condition parse_condition(const std::string& word) {
  const size_t at = word.rfind('@');
  if (at == std::string::npos || at == 0)
    throw CLI::ValidationError("--condition", "'" + word + "' is not PATH@FRAME or PATH@FRAME:STRENGTH");
  ltxv::condition condition{.path = word.substr(0, at)};
  std::string frame = word.substr(at + 1);
  const size_t colon = frame.find(':');
  if (colon != std::string::npos) {
    condition.strength = parse_number<double>("--condition", frame.substr(colon + 1), 0, 1, "a strength from 0 to 1");
    frame.resize(colon);
  }
  condition.frame_index = parse_number<int32_t>("--condition", frame, 0, 1 << 20, "a frame number from 0 on");
  return condition;
}

/// What stands behind the last colon is the scale if it is a number; else the colon belongs to the path.
ltxv::lora parse_lora(const std::string& word) {
  if (word.empty()) throw CLI::ValidationError("--lora", "is empty");
  const size_t colon = word.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == word.size() ||
      word.find_first_not_of("0123456789.+-eE", colon + 1) != std::string::npos)
    return {.path = word};
  return {.path = word.substr(0, colon),
          .strength = parse_number<double>("--lora", word.substr(colon + 1), -100, 100, "a scale from -100 to 100")};
}

/// Lines that are not empty, as one prompt with "|" between them.
std::string read_prompts(const std::string& path) {
  std::ifstream file(path);
  std::string prompts, line;
  while (std::getline(file, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find('|') != std::string::npos)
      throw CLI::ValidationError("--prompts-file", "'" + path + "': a line holds '|', which separates prompts");
    if (!line.empty()) prompts += (prompts.empty() ? "" : " | ") + line;
  }
  if (prompts.empty()) throw CLI::ValidationError("--prompts-file", "'" + path + "' cannot be read or holds no prompt");
  return prompts;
}

void finish(Commands& c) {
  Options& o = c.options;
  const auto wrong = [&](const std::string& message) -> UsageError { return {o.command, message}; };
  if (!c.prompts_path.empty()) {
    if (c.input) throw wrong("PROMPT and --prompts-file exclude each other");
    c.input = read_prompts(c.prompts_path);
  }
  if (!c.input) c.input = c.request_prompt;
  o.input = c.input.value_or("");
  if (o.command == "info") return;
  if (o.command == "replay" && !c.input) throw wrong("the file to make again is missing");
  if (o.command == "convert") {
    if (o.inputs.empty()) throw wrong("the input is missing");
    if (o.output.empty()) throw wrong("-o OUT is missing");
    return;
  }
  if (o.command == "doctor") {
    if (o.inputs.empty() && !o.kernels) throw wrong("a file is missing");
    if (!o.inputs.empty() && o.kernels) throw wrong("FILE and --kernels exclude each other");
    return;
  }
  for (const std::string& word : c.condition_words) o.generate.conditions.push_back(parse_condition(word));
  for (const std::string& word : c.lora_words) o.generate.loras.push_back(parse_lora(word));
  if (!c.image_path.empty()) o.generate.conditions.insert(o.generate.conditions.begin(), {.path = c.image_path});
  if (!c.input && o.generate.prompt_embeds_path.empty())
    throw wrong(o.command == "generate" || o.command == "embed" ? "a prompt is missing" : "the input file is missing");
  if (o.command == "generate" || o.command == "decode") {
    if (o.output.empty()) o.output = "out.mp4";
    return;
  }
  if (o.command == "upscale" && o.engine.upscalers.empty()) throw wrong("--upscaler is missing");
  if (o.output.empty()) throw wrong("-o FILE.safetensors is missing");
  if (!o.output.ends_with(".safetensors")) throw wrong("-o must end with .safetensors, got '" + o.output + "'");
  if ((o.generate.width_px == 0) != (o.generate.height_px == 0)) throw wrong("--width and --height go together");
}

/// "a/clip.mp4" -> "a/clip-replay.mp4"
std::string replay_name(const std::string& path) {
  const size_t dot = path.rfind('.'), slash = path.rfind('/');
  if (dot == std::string::npos || (slash != std::string::npos && dot < slash)) return path + "-replay";
  return path.substr(0, dot) + "-replay" + path.substr(dot);
}

/// The generate command that made a file.
std::vector<std::string> replay_words(const Commands& c) {
  const Options& o = c.options;
  std::vector<std::string> words{"generate"};
  const auto stored = read_settings(*c.input, c.any_version ? AnyVersion::yes : AnyVersion::no);
  words.insert(words.end(), stored.begin(), stored.end());
  words.insert(words.end(), {"--output", o.output.empty() ? replay_name(*c.input) : o.output});
  if (o.quiet) words.push_back("--quiet");
  if (o.json) words.push_back("--json");
  return words;
}

void parse_words(Commands& c, std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  c.app.parse(words);
}

}  // namespace

Options parse_command_line(int argc, const char* const* argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words[0] == "help") {  // `help generate` is `generate --help`
    words.erase(words.begin());
    words.push_back("--help");
  }
  auto c = std::make_unique<Commands>();
  // The command is needed to word an error, also one that ends the parsing early.
  const auto used = [&]() -> CLI::App& {
    const auto commands = c->app.get_subcommands();
    return commands.empty() ? c->app : *commands.front();
  };
  const auto name = [&] { return &used() == &c->app ? std::string() : used().get_name(); };
  const auto refuse_extras = [&] {
    const auto extras = c->app.remaining(/*recurse=*/true);
    if (!extras.empty()) throw UsageError(name(), describe_extras(used(), name(), extras));
  };
  try {
    parse_words(*c, words);
    if (!c->request_path.empty()) {
      // Parsed again behind the file's options, so that what is on the command line is seen last and wins.
      auto merged = words;
      const auto from_file = read_request_file(c->request_path, words);
      merged.insert(std::find(merged.begin(), merged.end(), "generate") + 1, from_file.begin(), from_file.end());
      c = std::make_unique<Commands>();
      parse_words(*c, merged);
    }
    refuse_extras();
    if (c->options.command == "replay" && c->input) {
      const auto again = replay_words(*c);
      c = std::make_unique<Commands>();
      parse_words(*c, again);
      refuse_extras();
    }
    if (c->show_version) throw TextRequested{"ltxv " + std::string(ltxv::version()) + "\n"};
    if (c->options.command.empty())
      throw UsageError("", "a command is missing: generate, embed, encode, upscale, decode, replay, info, doctor or convert");
    finish(*c);
  } catch (const CLI::CallForHelp&) {
    throw TextRequested{format_help(page_of(used(), name()), column_count(STDOUT_FILENO))};
  } catch (const CLI::ArgumentMismatch& e) {
    refuse_extras();
    // "--width: 1 required N missing"
    const std::string option = e.what();
    throw UsageError(name(), option.substr(0, option.find(':')) + " needs a value");
  } catch (const CLI::ParseError& e) {
    refuse_extras();
    throw UsageError(name(), e.what());
  }
  return c->options;
}

}  // namespace cli
