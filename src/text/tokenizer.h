#pragma once
// Text to T5 token ids, as the `transformers` T5 tokenizer does it.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ltxv {

/// One prompt, filled up to the length asked for. Shapes: ids [S], mask [S].
struct TokenizedPrompt {
  std::vector<int64_t> ids;   ///< pieces, then the end mark (1), then padding (0)
  std::vector<int64_t> mask;  ///< 1 up to and including the end mark
  int64_t dropped_count = 0;  ///< pieces that did not fit
};

/// Immutable after load and safe to share between threads. Loading sets sentencepiece's own log level, which is one for
/// the whole process, to silence.
class Tokenizer {
 public:
  /// Loads `spiece.model`. Special strings come from `tokenizer_config.json` or `added_tokens.json` beside it; without
  /// them there are 100 `<extra_id_N>`, numbered downwards from the top of the vocabulary. Errors: IoError (cannot be
  /// read), BadWeights (damaged, or no T5 vocabulary: <pad>, </s>, <unk> must be 0, 1, 2),
  ///         Unsupported (not a unigram model).
  static Tokenizer load(const std::string& spiece_model_path);

  /// Strips white space at both ends, then cuts into pieces. Special strings (`</s>`, `<pad>`, `<unk>`, `<extra_id_N>`)
  /// in the prompt become their ids. Whatever exceeds `max_length` is cut at the end, so that the end mark always fits.
  /// Errors: InvalidArgument (not UTF-8, a zero byte, longer than 32 KiB, max_length not from 1 to 65536).
  TokenizedPrompt encode(std::string_view utf8_prompt, int64_t max_length) const;

  /// Pieces in the model file, without added special strings.
  int64_t piece_count() const;
  /// Every id is below this; the text encoder's embedding needs at least as many rows.
  int64_t id_limit() const;

 private:
  struct Model;
  explicit Tokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  std::shared_ptr<const Model> model_;
};

}  // namespace ltxv
