// Help, wrong usage, exit codes. Nothing here loads a model.
#include "cli/process.h"

namespace ltxv::test {
namespace {

TEST(CliHelp, TeachesEveryCommand) {
  for (const std::string command : {"generate", "embed", "encode", "decode", "replay", "info", "doctor", "convert"}) {
    const Finished f = run({command, "--help"});
    EXPECT_EQ(f.exit_code, 0);
    EXPECT_EQ(f.err, "");
    EXPECT_EQ(f.out.rfind("usage: ltxv " + command, 0), 0u) << f.out;
    EXPECT_NE(f.out.find("example"), std::string::npos) << command;
  }
  const Finished f = run({"--help"});
  EXPECT_EQ(f.exit_code, 0);
  for (const std::string command : {"generate", "embed", "encode", "decode", "replay", "info", "doctor", "convert"}) {
    EXPECT_NE(f.out.find("\n  " + command + " "), std::string::npos) << command;
  }
}

TEST(CliHelp, NamesEveryOptionOfTheContract) {
  const std::string help = run({"generate", "--help"}).out;
  for (const std::string option : {"-m, --model",
                                   "-o, --output",
                                   "--width",
                                   "--height",
                                   "--frames",
                                   "--seconds",
                                   "--fps",
                                   "--steps",
                                   "--sigmas",
                                   "--guidance",
                                   "--negative",
                                   "--seed",
                                   "--device",
                                   "--dtype",
                                   "--quantization",
                                   "--attention",
                                   "--threads",
                                   "--preset",
                                   "--noise",
                                   "--save-noise",
                                   "--save-latents",
                                   "--prompt-embeds",
                                   "--negative-prompt-embeds",
                                   "--condition",
                                   "--image",
                                   "--image-noise-scale",
                                   "--guidance-rescale",
                                   "--guidance-timesteps",
                                   "--stg-scale",
                                   "--stg-mode",
                                   "--skip-blocks",
                                   "--cfg-star",
                                   "--stochastic",
                                   "--skip-first-steps",
                                   "--skip-last-steps",
                                   "--input-video",
                                   "--strength",
                                   "--lora",
                                   "--control",
                                   "--control-strength",
                                   "--decode-timestep",
                                   "--decode-noise-scale",
                                   "--max-text-tokens",
                                   "--mask",
                                   "--mask-blend",
                                   "--image-prep",
                                   "--image-crf",
                                   "--window-frames",
                                   "--window-overlap",
                                   "--prompts-file",
                                   "--decode-noise-space",
                                   "--text-padding",
                                   "--frame-positions",
                                   "--request",
                                   "--print-request",
                                   "--text-encoder",
                                   "--tokenizer",
                                   "--vae",
                                   "--transformer",
                                   "--release",
                                   "-q, --quiet",
                                   "--json"}) {
    EXPECT_NE(help.find("  " + option + " "), std::string::npos) << option;
  }
}

TEST(CliHelp, FitsTheWidthOfTheTerminal) {
  const Finished f = Program({"generate", "--help"}, "", [] { setenv("COLUMNS", "80", 1); }).wait();
  for (size_t at = 0; at < f.out.size();) {
    const size_t end = f.out.find('\n', at);
    EXPECT_LE(end - at, 80u) << f.out.substr(at, end - at);
    at = end + 1;
  }
}

TEST(CliVersion, IsPrinted) { EXPECT_EQ(run({"--version"}).out.rfind("ltxv 0.", 0), 0u); }

struct Wrong {
  std::vector<std::string> words;
  std::string message;
};

TEST(CliUsage, MistakesEndWithTwoOneLineAndAHint) {
  const std::vector<Wrong> cases = {
      {{}, "a command is missing"},
      {{"generat", "x"}, "did you mean generate?"},
      {{"generate"}, "a prompt is missing"},
      {{"generate", "a", "red", "circle"}, "put the prompt in quotes"},
      {{"generate", "x", "--widht", "64"}, "did you mean --width?"},
      {{"generate", "x", "--width"}, "--width needs a value"},
      {{"generate", "x", "--width", "64x"}, "'64x' is not a whole number"},
      {{"generate", "x", "--width", "0x40"}, "'0x40'"},
      {{"generate", "x", "--width", " 64"}, "' 64'"},
      {{"generate", "x", "--width", "0"}, "'0' is not a whole number from 1"},
      {{"generate", "x", "--width", "-64"}, "'-64'"},
      {{"generate", "x", "--width", "99999999999"}, "'99999999999'"},
      {{"generate", "x", "--steps", "1.5"}, "'1.5'"},
      {{"generate", "x", "--seed", "-1"}, "'-1'"},
      {{"generate", "x", "--seed", "18446744073709551616"}, "'18446744073709551616'"},
      {{"generate", "x", "--guidance", "nan"}, "'nan'"},
      {{"generate", "x", "--guidance", "3;5"}, "'3;5'"},
      {{"generate", "x", "--fps", "0"}, "'0'"},
      {{"generate", "x", "--seconds", "1", "--frames", "9"}, "excludes"},
      {{"generate", "x", "--sigmas", "1,,0.5"}, "''"},
      {{"generate", "x", "--sigmas", "1,0.5", "--steps", "2"}, "excludes"},
      {{"generate", "x", "--device", "gpu"}, "'gpu' is not one of"},
      {{"generate", "x", "--dtype", "int8"}, "'int8' is not one of"},
      {{"generate", "x", "--attention", "fp4"}, "'fp4' is not one of exact, int8"},
      {{"generate", "x", "--quantization", "fp4"}, "'fp4' is not one of none, fp8, int8"},
      {{"generate", "x", "--condition", "a.png"}, "PATH@FRAME"},
      {{"generate", "x", "--condition", "a.png@b"}, "'b'"},
      {{"generate", "x", "--condition", "a.png@0:2"}, "'2'"},
      {{"generate", "x", "--lora", "a.safetensors:101"}, "'101'"},
      {{"generate", "x", "--lora", "a.safetensors:1e"}, "'1e'"},
      {{"generate", "x", "--lora", ""}, "--lora"},
      {{"generate", "x", "--control", "a.mp4", "--control-strength", "0"}, "'0'"},
      {{"generate", "x", "--image-prep", "nice"}, "'nice' is not one of plain, official, diffusers"},
      {{"generate", "x", "--image-crf", "52"}, "'52'"},
      {{"generate", "x", "-m", kTinyModel, "--mask", "m.png"}, "a mask needs an input video"},
      {{"generate", "x", "--window-frames", "-1"}, "'-1'"},
      {{"generate", "x", "--skip-last-steps", "-1"}, "'-1' is not a whole number from 0 to 1000"},
      {{"generate", "x", "-m", kTinyModel, "--window-overlap", "8"}, "need window-frames"},
      {{"generate", "x", "--prompts-file", "p.txt"}, "exclude each other"},
      {{"generate", "--prompts-file", "no-such.txt"}, "cannot be read or holds no prompt"},
      {{"generate", "x", "-o", "clip.avi7"}, "avi7"},
      {{"generate", "x", "-o", "clip"}, "clip"},
      {{"--json", "generate", "x"}, "must stand behind the command"},
      {{"embed", "x"}, "-o FILE.safetensors is missing"},
      {{"embed", "x", "-o", "e.mp4"}, "-o must end with .safetensors"},
      {{"encode", "in.mp4", "-o", "l.safetensors", "--width", "64"}, "--height go together"},
      {{"decode"}, "the input file is missing"},
      {{"replay"}, "the file to make again is missing"},
      {{"upscale", "l.safetensors", "-o", "o.safetensors"}, "--upscaler is missing"},
      {{"generate", "x", "--passes", "3"}, "'3' is not a whole number from 1 to 2"},
      {{"generate", "x", "--pass2-sigmas", "0.9", "--pass2-steps", "2"}, "excludes"},
  };
  for (const Wrong& wrong : cases) {
    Program program(wrong.words);
    const Finished f = program.wait();
    std::string line = "ltxv";
    for (const std::string& word : wrong.words) line += " " + word;
    EXPECT_EQ(f.exit_code, 2) << line;
    const size_t json_line = f.out.empty() ? 0 : f.out.find("\"status\":\"usage\"");
    EXPECT_TRUE(f.out.empty() || json_line != std::string::npos) << f.out;
    expect_one_line(f.err);
    EXPECT_NE(f.err.find(wrong.message), std::string::npos) << line << ": " << f.err;
    EXPECT_NE(f.err.find("--help'"), std::string::npos) << line << ": " << f.err;
    EXPECT_TRUE(program.files().empty()) << line;
  }
}

TEST(CliUsage, OptionsTheModelCannotSatisfyAreWrongUsageToo) {
  Program program(small_generate({"--preset", "no-such-preset"}));
  const Finished f = program.wait();
  EXPECT_EQ(f.exit_code, 2);
  EXPECT_NE(f.err.find("no-such-preset"), std::string::npos) << f.err;
  EXPECT_TRUE(program.files().empty());
  const Finished two = Program(small_generate({"--passes", "2"})).wait();
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_NE(two.err.find("two passes need a latent upsampler: --upscaler names one"), std::string::npos) << two.err;
}

TEST(CliFailure, IsOneLineAndExitCodeOne) {
  const std::vector<std::vector<std::string>> cases = {
      {"generate", "x", "-m", "/no/such/model"},
      {"info", "/no/such/model"},
      {"decode", "/no/such/latents.safetensors", "-m", kTinyModel},
      {"encode", "/no/such/clip.mp4", "-m", kTinyModel, "-o", "l.safetensors"},
      {"generate", "x", "-m", kTinyModel, "--request", "/no/such/request.json"},
      {"replay", "/no/such/clip.mp4"},
      {"generate", "x", "-m", kTinyModel, "-o", "no/such/folder/out.mp4"},
  };
  for (const auto& words : cases) {
    Program program(words);
    const Finished f = program.wait();
    EXPECT_EQ(f.exit_code, 1) << words[0] << ": " << f.err;
    EXPECT_EQ(f.out, "");
    expect_one_line(f.err);
    EXPECT_NE(f.err.find("no/such"), std::string::npos) << f.err;
    EXPECT_TRUE(program.files().empty());
  }
}

TEST(CliOutput, FullAndClosedStdoutAreErrors) {
  const Finished full = Program({"info", kTinyModel}, "", [] {
                          const int fd = open("/dev/full", O_WRONLY);
                          dup2(fd, 1);
                        }).wait();
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(full.err.find("standard output"), std::string::npos) << full.err;
  EXPECT_EQ(Program({"info", kTinyModel}, "", [] { close(1); }).wait().exit_code, 1);
}

TEST(CliOutput, AReaderThatWentAwayIsNoError) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const Finished f = Program({"info", kTinyModel}, "", [&] { dup2(ends[1], 1); }).wait();
  close(ends[1]);
  EXPECT_EQ(f.exit_code, 0) << f.err;
  EXPECT_EQ(f.err, "");
}

}  // namespace
}  // namespace ltxv::test
