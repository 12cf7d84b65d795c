#include "weights/lora_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/file_bytes.h"

namespace ltxv {
namespace {

using nlohmann::json;

enum class Part { down, up, up_bias, alpha, weight, bias, other_method };

struct Ending {
  std::string_view text;
  Part part;
  const char* method = nullptr;  // of other_method
};

// The first that ends a path element wins; longer ones stand before their own beginnings.
constexpr Ending kEndings[] = {
    {".lora_A", Part::down},
    {".lora_B", Part::up},
    {".lora_down", Part::down},
    {".lora_up", Part::up},
    {".lora.down", Part::down},
    {".lora.up", Part::up},
    {".lora_linear_layer.down", Part::down},
    {".lora_linear_layer.up", Part::up},
    {".alpha", Part::alpha},
    {".diff", Part::weight},
    {".diff_b", Part::bias},
    {".dora_scale", Part::other_method, "DoRA"},
    {".lora_magnitude_vector", Part::other_method, "DoRA"},
    {".lora_mid", Part::other_method, "a Tucker decomposition"},
    {".lokr_w1", Part::other_method, "LoKr"},
    {".lokr_w2", Part::other_method, "LoKr"},
    {".lokr_w1_a", Part::other_method, "LoKr"},
    {".lokr_w2_a", Part::other_method, "LoKr"},
    {".hada_w1_a", Part::other_method, "LoHa"},
    {".oft_blocks", Part::other_method, "OFT"},
    {".oft_R", Part::other_method, "OFT"},
    {".oft_diag", Part::other_method, "OFT"},
    {".lora_embedding_A", Part::other_method, "an embedding LoRA"},
    {".reshape_weight", Part::other_method, "a reshaping LoRA"},
    {".set_weight", Part::other_method, "replaced weights"},
    {".w_norm", Part::other_method, "LyCORIS norms"},
    {".b_norm", Part::other_method, "LyCORIS norms"},
};

struct SplitName {
  std::string_view path;
  Part part;
  const char* method;
};

// "a.b.lora_A.default.weight" -> "a.b", down. The adapter's name and ".weight" are optional.
std::optional<SplitName> split(std::string_view name) {
  for (const Ending& ending : kEndings) {
    const size_t at = name.rfind(ending.text);
    if (at == std::string_view::npos || at == 0) continue;
    std::string_view rest = name.substr(at + ending.text.size());
    if (!rest.empty() && rest.front() != '.') continue;
    const bool is_bias = rest.ends_with(".bias");
    if (is_bias && ending.part != Part::up) continue;
    if (rest.ends_with(".weight") || is_bias) rest.remove_suffix(is_bias ? 5 : 7);
    if (std::count(rest.begin(), rest.end(), '.') > 1) continue;  // more than an adapter's name
    return SplitName{name.substr(0, at), is_bias ? Part::up_bias : ending.part, ending.method};
  }
  return std::nullopt;
}

bool of_text_encoder(std::string_view name) {
  return name.starts_with("lora_te") || name.starts_with("text_encoder") || name.starts_with("base_model.model.text_encoder");
}

std::string named(const TensorEntry& entry) {
  return text(printable(entry.file), ": LoRA tensor '", printable(entry.name), "' ", shape_text(entry.shape));
}

float half_to_float(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const auto fraction = static_cast<float>(bits & 1023);
  if (exponent == 31) return std::numeric_limits<float>::infinity();
  const float size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -size : size;
}

// One number of the types that alphas are stored in.
double number_of(const TensorEntry& entry) {
  const auto bits = [&]<class T>(T value) {
    std::memcpy(&value, entry.data, sizeof(T));
    return value;
  };
  const bool one = std::all_of(entry.shape.begin(), entry.shape.end(), [](int64_t size) { return size == 1; });
  LTXV_REQUIRE(BadWeights, one, named(entry), " is not one number");
  double value = 0;
  switch (entry.type) {
    case StoredType::f64: value = bits(double{}); break;
    case StoredType::f32: value = bits(float{}); break;
    case StoredType::f16: value = half_to_float(bits(uint16_t{})); break;
    case StoredType::bf16: value = std::bit_cast<float>(static_cast<uint32_t>(bits(uint16_t{})) << 16); break;
    case StoredType::i64: value = static_cast<double>(bits(int64_t{})); break;
    case StoredType::i32: value = bits(int32_t{}); break;
    default: throw BadWeights(text(named(entry), " is stored as ", stored_type_name(entry.type), ", which is no type for an alpha"));
  }
  LTXV_REQUIRE(BadWeights, std::isfinite(value), named(entry), " is not a finite number");
  return value;
}

// What diffusers writes beside the tensors: alphas for the whole file and for single modules.
class AdapterSettings {
 public:
  explicit AdapterSettings(const TensorSource& file) : path_(file.path()) {
    const auto found = file.metadata().find("lora_adapter_metadata");
    if (found == file.metadata().end()) return;
    const auto settings = json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    LTXV_REQUIRE(BadWeights, settings.is_object(), path_, ": \"lora_adapter_metadata\" is not a JSON object");
    for (const auto& [key, value] : settings.items())
      values_[key.starts_with("transformer.") ? key.substr(12) : key] = value;
    LTXV_REQUIRE(Unsupported, !flag("use_dora"), path_, ": this is a DoRA file (\"use_dora\"), which is not supported; LoRA is");
  }

  /// alpha / rank, or 1 without a word on it. `path` without a prefix.
  double scale(std::string_view path, int64_t rank) const {
    std::optional<double> alpha;
    if (const auto it = values_.find("lora_alpha"); it != values_.end() && it->second.is_number()) alpha = it->second.get<double>();
    if (const auto it = values_.find("alpha_pattern"); it != values_.end() && it->second.is_object())
      for (const auto& [pattern, value] : it->second.items())
        // PEFT's rule for plain names: the pattern is the end of the path, from a path boundary on.
        if (value.is_number() && path.ends_with(pattern) &&
            (path.size() == pattern.size() || path[path.size() - pattern.size() - 1] == '.'))
          alpha = value.get<double>();
    if (!alpha) return 1;
    LTXV_REQUIRE(BadWeights, std::isfinite(*alpha), path_, ": an alpha in \"lora_adapter_metadata\" is not finite");
    const auto size = static_cast<double>(rank);
    return *alpha / (flag("use_rslora") ? std::sqrt(size) : size);
  }

 private:
  bool flag(const char* key) const {
    const auto it = values_.find(key);
    return it != values_.end() && it->second.is_boolean() && it->second.get<bool>();
  }
  std::string path_;
  std::map<std::string, json> values_;
};

int64_t reference_downscale_of(const TensorSource& file) {
  const auto found = file.metadata().find("reference_downscale_factor");
  if (found == file.metadata().end()) return 1;
  double factor = 0;
  try {
    factor = std::stod(found->second);
  } catch (const std::exception&) {
  }
  LTXV_REQUIRE(BadWeights, factor >= 1 && factor <= 64 && factor == std::floor(factor), printable(file.path()),
               ": \"reference_downscale_factor\" in its metadata is '", printable(found->second), "', not a whole number from 1 to 64");
  return static_cast<int64_t>(factor);
}

void check_pair(const LoraModule& m) {
  if (!m.down && !m.up) {
    LTXV_REQUIRE(BadWeights, !m.up_bias, named(*m.up_bias), " has no pair of LoRA matrices beside it");
    return;
  }
  const TensorEntry& present = m.down ? *m.down : *m.up;
  LTXV_REQUIRE(BadWeights, m.down && m.up, named(present), " has no ", m.down ? "up (lora_B)" : "down (lora_A)", " half");
  LTXV_REQUIRE(BadWeights, m.down->shape.size() == 2 && m.up->shape.size() == 2, named(m.down->shape.size() == 2 ? *m.up : *m.down),
               " is not a matrix");
  LTXV_REQUIRE(BadWeights, m.down->shape[0] == m.up->shape[1] && m.down->shape[0] > 0, named(*m.down), " and '", printable(m.up->name),
               "' ", shape_text(m.up->shape), " differ in rank");
}

}  // namespace

LoraFile read_lora(std::shared_ptr<const TensorSource> source) {
  LoraFile file;
  std::map<std::string_view, LoraModule> modules;
  std::map<std::string_view, const TensorEntry*> alphas;
  for (const TensorEntry& entry : source->entries()) {
    if (of_text_encoder(entry.name)) {
      ++file.text_encoder_tensors;
      continue;
    }
    const auto name = split(entry.name);
    if (!name) {
      file.unknown.push_back(entry.name);
      continue;
    }
    LTXV_REQUIRE(Unsupported, name->part != Part::other_method, named(entry), " belongs to ", name->method,
                 ", which is not supported; LoRA and full differences are");
    if (name->part == Part::alpha) {
      alphas[name->path] = &entry;
      continue;
    }
    LoraModule& module = modules[name->path];
    module.path = name->path;
    const TensorEntry*& slot = name->part == Part::down      ? module.down
                               : name->part == Part::up      ? module.up
                               : name->part == Part::up_bias ? module.up_bias
                               : name->part == Part::weight  ? module.weight
                                                             : module.bias;
    LTXV_REQUIRE(BadWeights, !slot, named(entry), " and '", printable(slot->name), "' mean the same");
    slot = &entry;
  }
  const AdapterSettings settings(*source);
  for (auto& [path, module] : modules) {
    check_pair(module);
    if (module.down) {
      const auto alpha = alphas.find(path);
      std::string_view bare = path;
      if (bare.starts_with("transformer.")) bare.remove_prefix(12);
      const int64_t rank = module.down->shape[0];
      module.scale = alpha != alphas.end() ? number_of(*alpha->second) / static_cast<double>(rank) : settings.scale(bare, rank);
    }
    alphas.erase(path);
    file.modules.push_back(std::move(module));
  }
  LTXV_REQUIRE(BadWeights, alphas.empty(), named(*alphas.begin()->second), " has no LoRA matrices beside it");
  file.reference_downscale = reference_downscale_of(*source);
  file.source = std::move(source);
  return file;
}

ModuleNames::ModuleNames(const std::vector<std::string>& canonical, const KeyMap& other_spelling) {
  const auto flat = [](std::string name) {
    std::replace(name.begin(), name.end(), '.', '_');
    return name;
  };
  const auto add = [&](const std::string& path, const std::string& name, std::string Target::* part) {
    for (const std::string& spelling : {path, other_spelling.apply(path)}) {
      dotted_[spelling].*part = name;
      flat_[flat(spelling)].*part = name;
    }
  };
  for (const std::string& name : canonical) {
    if (name.ends_with(".bias")) {
      add(name.substr(0, name.size() - 5), name, &Target::bias);
    } else {
      add(name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name, name, &Target::weight);
    }
  }
}

const ModuleNames::Target* ModuleNames::find(std::string_view path) const {
  constexpr std::string_view kFlat[] = {"lora_unet_", "lora_transformer_", "lycoris_"};
  for (const auto prefix : kFlat) {
    if (!path.starts_with(prefix)) continue;
    const auto it = flat_.find(path.substr(prefix.size()));
    return it == flat_.end() ? nullptr : &it->second;
  }
  constexpr std::string_view kPrefixes[] = {"base_model.model.", "model.", "diffusion_model.", "transformer.", "unet.", "module."};
  while (true) {
    if (const auto it = dotted_.find(path); it != dotted_.end()) return &it->second;
    const auto prefix = std::find_if(std::begin(kPrefixes), std::end(kPrefixes), [&](auto p) { return path.starts_with(p); });
    if (prefix == std::end(kPrefixes)) return nullptr;
    path.remove_prefix(prefix->size());
  }
}

}  // namespace ltxv
