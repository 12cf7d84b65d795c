#include "help.h"

#include <algorithm>

namespace cli {
namespace {

constexpr size_t kLeftWidth = 30;  // "  --negative-prompt-embeds FILE" is the longest; it takes a line of its own
constexpr size_t kNarrowest = 40;

/// Words of `text`, broken so that no line is longer than `width`; '\n' in the text stays.
std::vector<std::string> wrap(const std::string& text, size_t width) {
  std::vector<std::string> lines{""};
  size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '\n') {
      lines.emplace_back();
      ++at;
      continue;
    }
    const size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
    at = end < text.size() && text[end] == ' ' ? end + 1 : end;
  }
  return lines;
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string format_help(const HelpPage& page, int columns) {
  const size_t width = std::clamp<size_t>(static_cast<size_t>(std::max(columns, 0)), kNarrowest + kLeftWidth, 110);
  std::string out = "usage: " + page.usage + "\n\n";
  for (const std::string& line : wrap(page.description, width)) out += line + "\n";
  for (const HelpPage::Group& group : page.groups) {
    out += "\n" + group.title + ":\n";
    for (const HelpPage::Row& row : group.rows) {
      std::string left = "  " + row.left;
      if (left.size() + 2 > kLeftWidth) {
        out += left + "\n";
        left.clear();
      }
      for (const std::string& line : wrap(row.right, width - kLeftWidth)) {
        out += left + std::string(kLeftWidth - left.size(), ' ') + line + "\n";
        left.clear();
      }
    }
  }
  if (!page.footer.empty()) out += "\n" + page.footer;
  return out;
}

std::string help_examples(const std::string& command) {
  if (command == "generate") {
    return "examples:\n"
           "  ltxv generate \"a red circle moves to the right on a black background\" --seed 7\n"
           "  ltxv generate \"a fox walks through snow\" -m ./LTX-Video-0.9.5 -o fox.mp4 \\\n"
           "      --width 704 --height 480 --seconds 5 --steps 30\n"
           "  ltxv generate \"the shape grows\" --image first.png -o grows.webm\n"
           "  ltxv generate \"...\" --condition a.png@0 --condition b.mp4@96:0.8\n"
           "  ltxv generate \"...\" --upscaler spatial-upscaler.safetensors    in two passes\n"
           "  echo \"a blue star spins\" | ltxv generate - -o star.gif --quiet\n";
  }
  if (command == "embed") {
    return "example:\n"
           "  ltxv embed \"a blue star spins\" -o star.safetensors\n"
           "  ltxv generate --prompt-embeds star.safetensors\n";
  }
  if (command == "encode") {
    return "examples:\n"
           "  ltxv encode clip.mp4 -m ./LTX-Video-0.9.5 -o latents.safetensors\n"
           "  ltxv encode photo.jpg --width 704 --height 480 -o latents.safetensors\n";
  }
  if (command == "upscale") {
    return "example:\n"
           "  ltxv generate \"...\" -m ltxv-2b-0.9.8-distilled.safetensors --save-latents small.safetensors\n"
           "  ltxv upscale small.safetensors -m ltxv-2b-0.9.8-distilled.safetensors \\\n"
           "      --upscaler ltxv-spatial-upscaler-0.9.8.safetensors -o large.safetensors\n";
  }
  if (command == "decode") {
    return "example:\n"
           "  ltxv generate \"a blue star spins\" --save-latents star.safetensors\n"
           "  ltxv decode star.safetensors -o star.mp4\n";
  }
  if (command == "replay") {
    return "example:\n"
           "  ltxv replay out.mp4 -o again.mp4      the same bits: 'cmp out.mp4 again.mp4' says nothing\n";
  }
  if (command == "convert") {
    return "examples:\n"
           "  ltxv convert ltxv-2b.safetensors t5xxl_fp16.safetensors spiece.model -o ./folder\n"
           "  ltxv convert ./LTX-Video-0.9.5 -o ltxv-2b-0.9.5.safetensors --dtype bf16\n"
           "  ltxv convert ltxv-13b.safetensors -o ltxv-13b-Q8_0.gguf --dtype q8_0\n"
           "  ltxv convert style.safetensors -o style-comfyui.safetensors --names comfyui\n";
  }
  if (command == "doctor") {
    return "examples:\n"
           "  ltxv doctor ./LTX-Video-0.9.5          is this model whole and sound\n"
           "  ltxv doctor ltxv-13b.gguf vae.safetensors t5.gguf spiece.model style.safetensors\n"
           "                                         do these belong together\n"
           "  ltxv doctor --kernels                  what this processor runs\n"
           "\n"
           "Exit codes: 0 good (warnings allowed), 1 a problem that would stop or spoil a run.\n";
  }
  if (command == "info") {
    return "examples:\n"
           "  ltxv info ./LTX-Video-0.9.5      what this model is, and what is missing\n"
           "  ltxv info out.mp4                how a clip was made\n"
           "  ltxv info                        this build: versions, devices, kernels\n";
  }
  return "examples:\n"
         "  ltxv generate \"a red circle moves to the right on a black background\"\n"
         "  ltxv generate \"a fox walks through snow\" -m ./LTX-Video-0.9.5 -o fox.mp4\n"
         "  ltxv info out.mp4\n"
         "\n"
         "'ltxv COMMAND --help' explains a command. Exit codes: 0 done, 1 failed, 2 wrong usage,\n"
         "130 cancelled by Ctrl-C or SIGTERM.\n";
}

std::string closest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace cli
