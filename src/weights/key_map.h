#pragma once
// Names of tensors: the library's own canon is that of the original LTX-Video files; other layouts are renamed to it by tables.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ltxv {

/// Ordered rename rules. `apply` tries the rules in order; the first one whose `from` is a prefix of the name ending at a path
/// boundary ('.' or the end) rewrites it to `to`. Inner-path rules (`anywhere`) then replace whole path elements wherever they stand;
/// what one of them wrote is not read again, so two may swap names. An empty `from` or `to` adds or strips a prefix.
class KeyMap {
 public:
  KeyMap& prefix(std::string from, std::string to);
  KeyMap& anywhere(std::string from, std::string to);
  /// Drops names of the file starting with this prefix, before any renaming (tensors that inference ignores).
  KeyMap& drop(std::string from);

  /// Canonical name of a name in the file; empty when the tensor is to be ignored.
  std::string apply(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> prefixes_, elements_;
  std::vector<std::string> drops_;
};

}  // namespace ltxv
