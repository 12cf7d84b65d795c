// Every command on the tiny model.
#include "cli/process.h"

namespace ltxv::test {
namespace {

TEST(CliGenerate, WritesEveryKindOfFile) {
  for (const std::string name : {"o.mp4", "o.mkv", "o.webm", "o.gif", "o.png", "o.safetensors"}) {
    Program program(small_generate({"-o", name}));
    const Finished f = program.wait();
    ASSERT_EQ(f.exit_code, 0) << name << ": " << f.err;
    EXPECT_EQ(f.out, name + "\n");
    EXPECT_EQ(program.files(), std::vector<std::string>{name});
    const auto info = run({"info", program.folder() + "/" + name, "--json"}).json_lines();
    ASSERT_EQ(info.size(), 1u);
    if (name.ends_with(".safetensors")) {
      EXPECT_EQ(info[0]["kind"], "frames");
      EXPECT_EQ(info[0]["parameters"], 3 * 9 * 32 * 64);
    } else if (!name.ends_with(".png")) {
      EXPECT_EQ(info[0]["kind"], "video") << name;
      EXPECT_EQ(info[0]["frames"], 9) << name;
      EXPECT_EQ(info[0]["width"], 64) << name;
    }
  }
  Program program(small_generate({"-o", "f%04d.png"}));
  ASSERT_EQ(program.wait().exit_code, 0);
  EXPECT_EQ(program.files().size(), 9u);
}

TEST(CliGenerate, JsonLinesParseAndTheLastOneIsTheResult) {
  const Finished f = run(small_generate({"--json", "--seed", "0"}));
  ASSERT_EQ(f.exit_code, 0) << f.err;
  const auto lines = f.json_lines();
  ASSERT_GE(lines.size(), 2u);
  int last_step = -1;
  for (const auto& line : lines) {
    if (line["event"] == "progress" && line["stage"] == "denoise") last_step = line["step"];
  }
  EXPECT_EQ(last_step, 2);
  const auto& result = lines.back();
  EXPECT_EQ(result["event"], "result");
  EXPECT_EQ(result["output"], "out.mp4");
  EXPECT_EQ(result["seed"], 0);
  EXPECT_EQ(result["width"], 64);
  EXPECT_EQ(result["frames"], 9);
  EXPECT_EQ(result["steps"], 2);
  EXPECT_GT(result["seconds"], 0.0);
  EXPECT_EQ(result["request"]["prompt"], "a red circle");
}

TEST(CliGenerate, ErrorsAreJsonTooWhenAsked) {
  const Finished f = run({"generate", "x", "-m", "/no/such/model", "--json"});
  EXPECT_EQ(f.exit_code, 1);
  const auto lines = f.json_lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["event"], "error");
  EXPECT_EQ(lines[0]["status"], "io");
}

TEST(CliGenerate, QuietSaysNothing) {
  const Finished f = run(small_generate({"--quiet"}));
  EXPECT_EQ(f.exit_code, 0);
  EXPECT_EQ(f.err, "");
  EXPECT_EQ(f.out, "out.mp4\n");
}

TEST(CliGenerate, PlainLinesOffATerminal) {
  const Finished f = run(small_generate());
  EXPECT_EQ(f.exit_code, 0);
  EXPECT_NE(f.err.find("denoise 2/2 ("), std::string::npos) << f.err;
  EXPECT_EQ(f.err.find('\r'), std::string::npos);
  EXPECT_EQ(f.err.find('\x1b'), std::string::npos);
}

TEST(CliGenerate, PromptsComeFromStandardInputAndAreUtf8) {
  auto words = small_generate({"--json"});
  words[1] = "-";
  const std::string prompt = "ein gr\xC3\xBCner Kreis \xE2\x80\x93 \xE8\xB5\xA4\xE3\x81\x84\xE5\x86\x86";
  const Finished f = run(words, prompt + "\n");
  ASSERT_EQ(f.exit_code, 0) << f.err;
  EXPECT_EQ(f.json_lines().back()["request"]["prompt"], prompt);

  words[1] = "broken \xFF text";
  const Finished broken = run(words);
  EXPECT_NE(broken.exit_code, 0);
  EXPECT_NE(broken.err.find("not UTF-8"), std::string::npos) << broken.err;
}

TEST(CliGenerate, PaddedSizesAreEchoed) {
  auto words = small_generate({"-o", "o.safetensors"});
  words[5] = "50";  // --width: the next multiple of 32 is 64
  words[9] = "12";  // --frames: the next 8k+1 is 17
  Program program(words);
  const Finished f = program.wait();
  ASSERT_EQ(f.exit_code, 0) << f.err;
  EXPECT_NE(f.err.find("12 frames 50x32"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("17 frames 64x32"), std::string::npos) << f.err;
  EXPECT_EQ(run({"info", program.folder() + "/o.safetensors", "--json"}).json_lines()[0]["parameters"],
            3 * 12 * 32 * 50);
}

TEST(CliGenerate, APrintedRequestGivesTheSameBytesAgain) {
  Program first(small_generate({"-o", "o.safetensors", "--seed", "11"}));
  ASSERT_EQ(first.wait().exit_code, 0);
  const Finished printed = run(small_generate({"--print-request", "--seed", "11"}));
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  const TempFolder folder;
  const std::string request = folder.write("request.json", printed.out);
  Program second({"generate", "--request", request, "--threads", "1", "-o", "o.safetensors"});
  const Finished f = second.wait();
  ASSERT_EQ(f.exit_code, 0) << f.err;
  const auto frames = [](const Program& p) {
    const std::string bytes = read_file(p.folder() + "/o.safetensors");
    return bytes.substr(bytes.size() - 3 * 9 * 32 * 64 * 4);  // the data; the header holds metadata
  };
  EXPECT_EQ(frames(first), frames(second));

  // What stands on the command line wins.
  const Finished other = run({"generate", "--request", request, "--seed", "12", "--steps", "3", "--print-request"});
  ASSERT_EQ(other.exit_code, 0) << other.err;
  const auto j = nlohmann::json::parse(other.out);
  EXPECT_EQ(j["seed"], 12);
  EXPECT_EQ(j["num_inference_steps"], 3);
  EXPECT_EQ(j["width"], 64);
}

TEST(CliGenerate, LorasAndControlGoThroughARequestFile) {
  const auto words = small_generate({"--lora", "a.safetensors", "--lora", "C:b.safetensors:-0.5", "--lora", "c:\\d", "--control", "depth.mp4",
                                     "--control-strength", "0.75", "--print-request"});
  const Finished printed = run(words);
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  const auto expected = nlohmann::json::parse(
      R"([{"path": "a.safetensors", "strength": 1}, {"path": "C:b.safetensors", "strength": -0.5}, {"path": "c:\\d", "strength": 1}])");
  const TempFolder folder;
  const auto again = run({"generate", "--request", folder.write("r.json", printed.out), "--print-request"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  for (const auto& out : {printed.out, again.out}) {
    const auto j = nlohmann::json::parse(out);
    EXPECT_EQ(j["loras"], expected);
    EXPECT_EQ(j["control"], "depth.mp4");
    EXPECT_EQ(j["control_strength"], 0.75);
  }
}

TEST(CliGenerate, UnknownKeysInARequestAreWrongUsage) {
  const TempFolder folder;
  const Finished f = run({"generate", "x", "--request", folder.write("r.json", R"({"widht": 64})")});
  EXPECT_EQ(f.exit_code, 2);
  EXPECT_NE(f.err.find("--widht"), std::string::npos) << f.err;
}

TEST(CliStages, ChainThroughFiles) {
  Program generate(
      small_generate({"-o", "a.safetensors", "--save-latents", "l.safetensors", "--save-noise", "n.safetensors"}));
  ASSERT_EQ(generate.wait().exit_code, 0);
  const std::string folder = generate.folder();
  EXPECT_EQ(generate.files(), (std::vector<std::string>{"a.safetensors", "l.safetensors", "n.safetensors"}));

  const Finished decoded =
      run({"decode", folder + "/l.safetensors", "-m", kTinyModel, "-o", folder + "/d.mp4", "--json"});
  ASSERT_EQ(decoded.exit_code, 0) << decoded.err;
  EXPECT_EQ(decoded.json_lines().back()["frames"], 9);

  const Finished encoded =
      run({"encode", folder + "/d.mp4", "-m", kTinyModel, "-o", folder + "/e.safetensors", "--json"});
  ASSERT_EQ(encoded.exit_code, 0) << encoded.err;
  EXPECT_EQ(encoded.json_lines().back()["shape"], (std::vector<int64_t>{1, 8, 2, 1, 2}));

  const Finished embedded = run({"embed", "a red circle", "-m", kTinyModel, "-o", folder + "/p.safetensors"});
  ASSERT_EQ(embedded.exit_code, 0) << embedded.err;
  EXPECT_EQ(embedded.out, folder + "/p.safetensors\n");
  const auto info = run({"info", folder + "/p.safetensors", "--json"}).json_lines();
  EXPECT_EQ(info[0]["kind"], "prompt embeddings");
}

TEST(CliInfo, DescribesModelsAndTheBuild) {
  const Finished model = run({"info", kTinyModel});
  EXPECT_EQ(model.exit_code, 0);
  EXPECT_NE(model.out.find("kind: diffusers-layout model"), std::string::npos) << model.out;
  const Finished build = run({"info", "--json"});
  EXPECT_EQ(build.json_lines()[0]["name"], "ltxv");
}

TEST(CliModel, TheBundledOneIsNamedWhenNoneIsGiven) {
  const Finished f = run({"generate", "x", "--print-request"});
  if (f.exit_code == 0) {
    EXPECT_EQ(nlohmann::json::parse(f.out)["model"], "shapes");
  }
  EXPECT_NE(f.err.find("using the bundled model 'shapes'"), std::string::npos) << f.err;
}

}  // namespace
}  // namespace ltxv::test
