#include "weights/key_map.h"

namespace ltxv {
namespace {

// Whether `from` stands in `name` at `at` as whole path elements.
bool matches(std::string_view name, size_t at, std::string_view from) {
  if (name.substr(at, from.size()) != from) return false;
  const size_t end = at + from.size();
  return end == name.size() || name[end] == '.' || from.empty() || from.back() == '.';
}

std::string joined(std::string_view head, std::string_view tail) {
  while (!head.empty() && head.back() == '.') head.remove_suffix(1);
  while (!tail.empty() && tail.front() == '.') tail.remove_prefix(1);
  std::string out(head);
  if (!head.empty() && !tail.empty()) out += '.';
  return out.append(tail);
}

}  // namespace

KeyMap& KeyMap::prefix(std::string from, std::string to) {
  prefixes_.emplace_back(std::move(from), std::move(to));
  return *this;
}

KeyMap& KeyMap::anywhere(std::string from, std::string to) {
  elements_.emplace_back(std::move(from), std::move(to));
  return *this;
}

KeyMap& KeyMap::drop(std::string from) {
  drops_.push_back(std::move(from));
  return *this;
}

std::string KeyMap::apply(std::string_view name_in_file) const {
  for (const std::string& from : drops_) {
    if (name_in_file.starts_with(from)) return {};
  }
  std::string name(name_in_file);
  for (const auto& [from, to] : prefixes_) {
    if (!matches(name, 0, from)) continue;
    name = joined(to, std::string_view(name).substr(from.size()));
    break;
  }
  // One walk over the elements; what a rule wrote is not read again, so two rules may swap names.
  std::string out;
  for (size_t at = 0; at < name.size();) {
    const std::pair<std::string, std::string>* rule = nullptr;
    for (const auto& candidate : elements_) {
      if (!candidate.first.empty() && matches(name, at, candidate.first)) {
        rule = &candidate;
        break;
      }
    }
    const size_t end = rule != nullptr ? at + rule->first.size() : std::min(name.find('.', at), name.size());
    const std::string_view element =
        rule != nullptr ? std::string_view(rule->second) : std::string_view(name).substr(at, end - at);
    if (!out.empty() && !element.empty()) out += '.';
    out += element;
    at = end < name.size() ? end + 1 : end;
  }
  return out;
}

}  // namespace ltxv
