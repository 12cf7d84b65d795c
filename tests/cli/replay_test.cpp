// Settings stored in files and printed requests: both make the same bytes again.
#include <cstring>

#include "cli/process.h"

namespace ltxv::test {
namespace {

/// Bytes of a .safetensors file with one f32 tensor a name; the shapes' elements follow one another in `values`.
std::string tensor_file(const std::vector<std::pair<std::string, std::vector<int64_t>>>& tensors, const std::vector<float>& values) {
  nlohmann::json header;
  uint64_t at = 0;
  for (const auto& [name, shape] : tensors) {
    uint64_t bytes = sizeof(float);
    for (const int64_t axis : shape) bytes *= static_cast<uint64_t>(axis);
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  EXPECT_EQ(at, values.size() * sizeof(float));
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  out += text;
  return out + std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

class CliReplay : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    made_ = std::make_unique<TempFolder>();
    const auto make = [&](std::vector<std::string> more) {
      more.insert(more.end(), {"--frames", "17", "--quiet"});
      const Finished f = run(small_generate(more));
      ASSERT_EQ(f.exit_code, 0) << f.err;
    };
    make({"-o", in("clip.mp4"), "--save-latents", in("latents.safetensors"), "--save-noise", in("noise.safetensors")});
    make({"-o", in("f%04d.png"), "--seed", "5"});
    for (const char* name : {"p", "n"})
      ASSERT_EQ(run({"embed", name, "-m", kTinyModel, "-o", in(std::string(name) + ".safetensors")}).exit_code, 0);
    std::vector<float> mask(32 * 64);
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 64 < 32 ? 0 : 1;  // the right half is made anew
    made_->write("mask.safetensors", tensor_file({{"mask", {1, 1, 1, 32, 64}}}, mask));
    // Width 20: two heads of ten. up x down adds 0.25 to every element of one matrix.
    std::vector<float> lora(40, 0.5f);
    made_->write("lora.safetensors", tensor_file({{"transformer_blocks.0.attn1.to_q.lora_A.weight", {1, 20}},
                                                  {"transformer_blocks.0.attn1.to_q.lora_B.weight", {20, 1}}},
                                                 lora));
  }
  static void TearDownTestSuite() { made_.reset(); }
  static std::string in(const std::string& name) { return *made_ / name; }

  /// Options of every way to start, and of every option that changes numbers.
  static std::vector<std::vector<std::string>> modes() {
    const std::string still = in("f0009.png"), clip = in("clip.mp4");
    return {
        {"--image", still, "--image-noise-scale", "0.1"},
        {"--condition", still + "@0:0.75", "--condition", in("f0002.png") + "@5"},
        {"--condition", clip + "@8", "--frames", "25"},
        {"--image", still, "--image-prep", "official", "--image-crf", "31", "--width", "50"},
        {"--input-video", clip, "--strength", "0.67", "--steps", "3", "--image-prep", "diffusers"},
        {"--input-video", in("latents.safetensors"), "--skip-first-steps", "1", "--frames", "17"},
        {"--input-video", clip, "--mask", in("mask.safetensors"), "--mask-blend", "1", "--composite"},
        {"--input-video", clip, "--outpaint", "--width", "96"},
        {"--input-video", clip, "--mask", in("mask.safetensors"), "--control", clip, "--prompt-embeds", in("p.safetensors")},
        {"--window-frames", "16", "--window-overlap", "8", "--frames", "33", "--window-match", "0", "--window-eta", "0.5"},
        {"--window-frames", "16", "--window-overlap", "8", "--frames", "17", "--prompt-embeds", in("p.safetensors") + " | " + in("n.safetensors")},
        {"--window-frames", "16", "--window-overlap", "8", "--frames", "17", "--input-video", clip, "--mask", in("mask.safetensors"), "--composite",
         "--control", clip, "--condition", still + "@13:0.7"},
        {"--lora", in("lora.safetensors") + ":-0.5", "--control", clip, "--control-strength", "0.5", "--image-noise-scale", "0.2"},
        {"--prompt-embeds", in("p.safetensors"), "--negative-prompt-embeds", in("n.safetensors"), "--guidance", "2.5"},
        {"--negative", "", "--guidance", "4,2", "--guidance-timesteps", "1,0.5", "--guidance-rescale", "0.3", "--stg-scale", "1,0",
         "--skip-blocks", "0;1,2", "--stg-mode", "residual", "--cfg-star"},
        {"--noise", in("noise.safetensors"), "--noise-kind", "torch_tokens", "--frames", "17"},
        {"--stochastic", "--noise-kind", "torch_tokens", "--text-padding", "attended", "--frame-positions", "plain", "--dtype", "bf16", "--quantization", "int8", "--attention", "int8",
         "--seed", "18446744073709551615", "--fps", "23.976", "--max-text-tokens", "32"},
    };
  }

  static std::unique_ptr<TempFolder> made_;
};
std::unique_ptr<TempFolder> CliReplay::made_;

TEST_F(CliReplay, EveryKindOfFileGivesItsOwnBytes) {
  for (const std::string name : {"o.mp4", "o.mkv", "o.webm", "o.gif", "o.png", "o.safetensors"}) {
    Program first(small_generate({"-o", name, "--seed", "3", "--condition", in("f0009.png") + "@0:0.9"}));
    ASSERT_EQ(first.wait().exit_code, 0) << name;
    const std::string original = first.folder() + "/" + name;
    Program again({"replay", original, "-o", name});
    const Finished f = again.wait();
    ASSERT_EQ(f.exit_code, 0) << name << ": " << f.err;
    EXPECT_EQ(again.files(), std::vector<std::string>{name});
    const std::string bytes = read_file(original);
    ASSERT_GT(bytes.size(), 500u);
    EXPECT_TRUE(read_file(again.folder() + "/" + name) == bytes) << name;
  }
}

TEST_F(CliReplay, OfEveryModeAndOfItsPrintedRequestGiveTheSameFrames) {
  for (const auto& options : modes()) {
    std::string line;
    for (const auto& word : options) line += word + " ";
    auto words = options;
    words.insert(words.end(), {"--quiet"});
    auto printing = words;
    words.insert(words.end(), {"-o", "o.safetensors"});
    printing.push_back("--print-request");
    Program first(small_generate(words));
    ASSERT_EQ(first.wait().exit_code, 0) << line << first.err_so_far();
    const std::string bytes = read_file(first.folder() + "/o.safetensors");
    ASSERT_GT(bytes.size(), 9u * 3 * 32 * 50 * 4) << line;

    const Finished printed = run(small_generate(printing));
    ASSERT_EQ(printed.exit_code, 0) << line << printed.err;
    const TempFolder folder;
    Program second({"generate", "--request", folder.write("r.json", printed.out), "-o", "o.safetensors", "--quiet"});
    ASSERT_EQ(second.wait().exit_code, 0) << line << second.err_so_far();
    // The whole file: frames, and the settings stored with them.
    EXPECT_TRUE(read_file(second.folder() + "/o.safetensors") == bytes) << line;

    Program third({"replay", first.folder() + "/o.safetensors", "--quiet"});
    ASSERT_EQ(third.wait().exit_code, 0) << line << third.err_so_far();
    EXPECT_TRUE(read_file(first.folder() + "/o-replay.safetensors") == bytes) << line;
  }
}

TEST_F(CliReplay, TheSettingsNameModelThreadsFormatAndVersion) {
  Program program(small_generate({"-o", "o.mkv", "--vae", kTinyModel + "/vae"}));
  ASSERT_EQ(program.wait().exit_code, 0) << program.err_so_far();
  const auto j = run({"info", program.folder() + "/o.mkv", "--json"}).json_lines()[0]["metadata"];
  EXPECT_EQ(j["model"], kTinyModel);
  EXPECT_EQ(j["vae"], kTinyModel + "/vae");
  EXPECT_EQ(j["threads"], 1);
  EXPECT_EQ(j["dtype"], "fp32");  // a small model on "auto"
  EXPECT_EQ(j["device"], "cpu");
  EXPECT_EQ("ltxv " + j["ltxv_version"].get<std::string>() + "\n", run({"--version"}).out);
}

TEST_F(CliReplay, WhatCannotBeReplayedIsOneLine) {
  const TempFolder folder;
  Program program(small_generate({"-o", "o.safetensors", "--condition", in("f0009.png") + "@0"}));
  ASSERT_EQ(program.wait().exit_code, 0);
  const std::string made = read_file(program.folder() + "/o.safetensors");
  // Same lengths, so that the file stays whole.
  const auto changed = [&](const std::string& from, const std::string& to) {
    EXPECT_EQ(from.size(), to.size());
    std::string bytes = made;
    const size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    bytes.replace(at, from.size(), to);
    return folder.write("changed.safetensors", bytes);
  };
  const auto expect_refused = [&](const std::string& path, const std::string& message) {
    Program replay({"replay", path, "-o", "new.safetensors"});
    const Finished f = replay.wait();
    EXPECT_EQ(f.exit_code, 1) << message;
    expect_one_line(f.err);
    EXPECT_NE(f.err.find(path), std::string::npos) << f.err;
    EXPECT_NE(f.err.find(message), std::string::npos) << f.err;
    EXPECT_TRUE(replay.files().empty()) << message;
  };
  expect_refused(in("mask.safetensors"), "holds no settings of a run");
  expect_refused(kTinyModel + "/vae/diffusion_pytorch_model.safetensors", "holds no settings of a run");
  expect_refused(changed("f0009.png", "fgone.png"), "the condition it was made with is not there: " + in("fgone.png"));
  expect_refused(changed("tiny_model", "tiny_mouse"), "the model it was made with is not there: ");
  expect_refused(changed("\\\"ltxv_version\\\":\\\"0", "\\\"ltxv_version\\\":\\\"9"), "made by ltxv \"9");
  expect_refused(changed("\\\"frame_rate\\\"", "\\\"save_noise\\\""), "which no run stores");
  Program other({"replay", changed("\\\"ltxv_version\\\":\\\"0", "\\\"ltxv_version\\\":\\\"9"), "-o", "o.safetensors", "--any-version"});
  EXPECT_EQ(other.wait().exit_code, 0) << other.err_so_far();
}

}  // namespace
}  // namespace ltxv::test
