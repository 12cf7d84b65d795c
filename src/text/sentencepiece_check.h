#pragma once
// Checks a sentencepiece model file before the sentencepiece library sees it: version 0.1.97, which distributions still
// ship, reads out of bounds on crafted files. Free of sentencepiece and torch, so that it is fuzzed on its own.
#include <string_view>

namespace ltxv {

/// Walks the serialised ModelProto and refuses whatever the library would trust blindly: truncated or overlong fields,
/// pieces over 512 bytes or not UTF-8, scores that are not finite, other than one unknown piece, a normalisation table
/// whose trie can be left or looped in, another model type than unigram. Errors: BadWeights naming the file, the piece
/// and the rule; Unsupported for another kind of sentencepiece model. Source: sentencepiece 0.1.97,
/// src/sentencepiece_model.proto (the fields), src/normalizer.cc (the table's layout).
void check_sentencepiece_model(std::string_view bytes, std::string_view file);

/// Index of the first byte that is not part of valid UTF-8 (no surrogates, no overlong forms); npos when all is valid.
size_t find_invalid_utf8(std::string_view text);

}  // namespace ltxv
