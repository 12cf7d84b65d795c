// Every kind of file, cut off at every kilobyte of what describes it (and at a few odd places): one clear line, no crash.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "pipeline/convert.h"
#include "pipeline/doctor.h"
#include "pipeline/engine.h"
#include "support/golden.h"
#include "support/made_upsampler.h"
#include "support/model_copy.h"
#include "weights/tensor_io.h"

namespace ltxv::test {
namespace {

using nlohmann::json;

struct Kind {
  const char* name;
  const char* file;              ///< in a copy of the tiny model; empty: made by itself
  std::string (*make)(const TempFolder& folder) = nullptr;
};

std::string made_lora(const TempFolder& folder) {
  std::map<std::string, at::Tensor> tensors;
  for (int block = 0; block < 3; ++block)
    for (const std::string layer : {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_k", "attn2.to_v"}) {
      const std::string path = "transformer.transformer_blocks." + std::to_string(block) + "." + layer;
      tensors[path + ".lora_A.weight"] = at::ones({2, 20});
      tensors[path + ".lora_B.weight"] = at::ones({20, 2});
    }
  save_tensors(folder / "lora.safetensors", tensors);
  return folder / "lora.safetensors";
}

std::string made_upsampler(const TempFolder& folder) {
  return write_upsampler_file(folder, "upsampler.safetensors", {.channels = 8, .width = 32, .blocks_a_stage = 2});
}

std::string copied(const TempFolder& folder, const std::string& golden, const std::string& name) {
  return folder.write(name, read_file(golden_path(golden)));
}

std::string converted(const TempFolder& folder, const std::string& part, const std::string& name) {
  convert_files({.paths = {golden_path("tiny_model" + part)}, .output = folder / name});
  return folder / name;
}

// What lies before the tensors: 8 bytes of length and the header; the whole file for other kinds.
size_t described_bytes(const std::string& path, const std::string& bytes) {
  if (!path.ends_with(".safetensors")) return bytes.size();
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  return static_cast<size_t>(length) + 8;
}

// A description is part of a folder.
std::string whole_part(const std::string& path) {
  return path.ends_with("/config.json") ? path.substr(0, path.rfind('/')) : path;
}

class Truncation : public testing::TestWithParam<Kind> {};

TEST_P(Truncation, IsOneClearLine) {
  const Kind& kind = GetParam();
  const TempFolder folder;
  const ModelCopy model;
  const std::string path = kind.make ? kind.make(folder) : model / kind.file;
  if (std::string_view(kind.name) == "scheduler_config") model.shift_schedule();  // a pipeline that reads it
  const std::string bytes = read_file(path);
  ASSERT_GT(bytes.size(), 8u);
  std::set<size_t> cuts{0, 1, 7, 8, 9, path.ends_with(".json") ? bytes.rfind('}') : bytes.size() - 1};
  for (size_t at = 1024; at < described_bytes(path, bytes); at += 1024) cuts.insert(at);
  for (size_t eighth = 1; eighth < 8; ++eighth) cuts.insert(described_bytes(path, bytes) * eighth / 8);
  for (const size_t cut : cuts) {
    std::ofstream(path, std::ios::binary) << bytes.substr(0, cut);
    // The part by itself, or in its model.
    const auto report = json::parse(check_files({.paths = {kind.make ? whole_part(path) : model.path()}, .headers_only = true}));
    EXPECT_EQ(report["good"], false) << kind.name << " cut at byte " << cut << " of " << bytes.size() << ": " << report["findings"];
    std::string lines;
    for (const json& finding : report["findings"]) {
      if (finding["severity"] != "problem") continue;
      const auto message = finding["message"].get<std::string>();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      EXPECT_GE(message.size(), 8u) << message;
      lines += finding["path"].get<std::string>() + ": " + message + "\n";
    }
    const auto name = path.substr(path.rfind('/') + 1);
    EXPECT_NE(lines.find(name), std::string::npos) << kind.name << " cut at byte " << cut << " is not named: " << lines;
    if (kind.make) continue;
    try {
      Engine::open({.model = model.path(), .dtype = "fp32"});
      ADD_FAILURE() << kind.name << " cut at byte " << cut << " was opened";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    EveryKind, Truncation,
    testing::Values(Kind{"safetensors", "transformer/diffusion_pytorch_model.safetensors"},
                    Kind{"shard", "text_encoder/model-00002-of-00003.safetensors"},
                    Kind{"index", "text_encoder/model.safetensors.index.json"}, Kind{"tokenizer", "tokenizer/spiece.model"},
                    Kind{"transformer_config", "transformer/config.json"}, Kind{"vae_config", "vae/config.json"},
                    Kind{"text_config", "text_encoder/config.json"}, Kind{"model_index", "model_index.json"},
                    Kind{"scheduler_config", "scheduler/scheduler_config.json"}, Kind{"lora", "", made_lora},
                    Kind{"upsampler", "", made_upsampler},
                    Kind{"checkpoint", "", [](const TempFolder& f) { return converted(f, "", "model.safetensors"); }},
                    Kind{"t5_file", "", [](const TempFolder& f) { return converted(f, "/text_encoder", "t5.safetensors"); }},
                    Kind{"gguf_made_here", "", [](const TempFolder& f) { return converted(f, "", "model.gguf"); }},
                    Kind{"upsampler_config", "", [](const TempFolder& f) {
                           return write_upsampler_folder(f, "up", {.channels = 8, .width = 32, .blocks_a_stage = 2}) + "/config.json";
                         }},
                    Kind{"gguf_transformer", "", [](const TempFolder& f) { return copied(f, "narrow/transformer.gguf", "t.gguf"); }},
                    Kind{"gguf_t5", "", [](const TempFolder& f) { return copied(f, "narrow/t5.gguf", "t5.gguf"); }},
                    Kind{"fp8", "", [](const TempFolder& f) { return copied(f, "narrow/t5_scaled.safetensors", "t5.safetensors"); }}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ltxv::test
