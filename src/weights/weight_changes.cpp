#include "weights/weight_changes.h"

#include <algorithm>

#include "base/error.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

at::Tensor as_float(const TensorEntry& entry, const std::shared_ptr<const TensorSource>& source, at::Device device = at::kCPU) {
  return to_tensor(entry, source).to(device).to(at::kFloat);
}

// Values are looked at when a file is opened: NaN must not turn up after the text encoder has run.
void check_values(const TensorEntry& entry) {
  constexpr StoredType kFloating[] = {StoredType::f64,  StoredType::f32,     StoredType::f16,
                                      StoredType::bf16, StoredType::f8_e4m3, StoredType::f8_e5m2};
  LTXV_REQUIRE(BadWeights, std::find(std::begin(kFloating), std::end(kFloating), entry.type) != std::end(kFloating), printable(entry.file), ": LoRA tensor '", printable(entry.name),
               "' is stored as ", stored_type_name(entry.type), ", a floating type is needed");
  LTXV_REQUIRE(NumericError, !has_nan_or_inf(entry), printable(entry.file), ": LoRA tensor '", printable(entry.name),
               "' holds NaN or Inf");
}

[[noreturn]] void refuse_shape(const TensorEntry& entry, const std::string& weight, const std::vector<int64_t>& shape) {
  throw BadWeights(text(printable(entry.file), ": LoRA tensor '", printable(entry.name), "' ", shape_text(entry.shape),
                        " does not fit the model's '", weight, "' ", shape_text(shape), "; the file was made for another model"));
}

}  // namespace

WeightChanges::WeightChanges(const std::vector<LoraUse>& uses, const WeightShapes& shapes, const KeyMap& other_spelling,
                             FileAccess access) {
  std::vector<std::string> canonical;
  for (const auto& [name, shape] : shapes) canonical.push_back(name);
  const ModuleNames names(canonical, other_spelling);
  for (const LoraUse& use : uses) add_file(use, shapes, names, access);
}

void WeightChanges::add_file(const LoraUse& use, const WeightShapes& shapes, const ModuleNames& names, FileAccess access) {
  constexpr size_t kListed = 10;
  const LoraFile file = read_lora(open_tensors(use.path, access));
  std::vector<std::string> unmatched = file.unknown;
  std::map<std::string, std::string> claimed;  // canonical name -> path in the file
  const auto add = [&](const std::string& name, const std::string& path, Change change) {
    const auto [at, fresh] = claimed.emplace(name, path);
    LTXV_REQUIRE(BadWeights, fresh || at->second == path, printable(use.path), ": '", printable(at->second), "' and '", printable(path),
                 "' both change '", name, "'");
    if (use.strength == 0) return;
    change.source = file.source;
    changes_[name].push_back(std::move(change));
  };

  for (const LoraModule& module : file.modules) {
    const ModuleNames::Target* target = names.find(module.path);
    const bool wants_weight = module.down || module.weight, wants_bias = module.up_bias || module.bias;
    if (!target || (wants_weight && target->weight.empty()) || (wants_bias && target->bias.empty())) {
      unmatched.push_back(module.path);
      continue;
    }
    for (const TensorEntry* entry : {module.down, module.up, module.up_bias, module.weight, module.bias})
      if (entry) check_values(*entry);
    if (module.down) {
      const auto& shape = shapes.at(target->weight);
      if (shape.size() != 2 || module.down->shape[1] != shape[1]) refuse_shape(*module.down, target->weight, shape);
      if (module.up->shape[0] != shape[0]) refuse_shape(*module.up, target->weight, shape);
      add(target->weight, module.path, {.down = module.down, .up = module.up, .factor = use.strength * module.scale});
    }
    const auto add_full = [&](const TensorEntry* entry, const std::string& name, double factor) {
      if (!entry) return;
      if (entry->shape != shapes.at(name)) refuse_shape(*entry, name, shapes.at(name));
      add(name, module.path, {.full = entry, .factor = factor});
    };
    add_full(module.weight, target->weight, use.strength);
    add_full(module.up_bias, target->bias, use.strength * module.scale);
    add_full(module.bias, target->bias, use.strength);
  }

  if (!unmatched.empty()) {
    std::string list;
    for (size_t i = 0; i < std::min(unmatched.size(), kListed); ++i)
      list.append(i == 0 ? "'" : ", '").append(printable(unmatched[i])).append("'");
    throw BadWeights(text(printable(use.path), ": ", unmatched.size(), " of ", file.modules.size() + file.unknown.size(),
                          " LoRA keys match nothing in this model: ", list, unmatched.size() > kListed ? ", ..." : ""));
  }
  LTXV_REQUIRE(BadWeights, !file.modules.empty(), printable(use.path), ": no LoRA tensors for the transformer inside");
  if (file.text_encoder_tensors > 0)
    remarks_.push_back(text(printable(use.path), ": ", file.text_encoder_tensors, " tensors for a text encoder are left out"));
  if (file.reference_downscale != 1) {
    LTXV_REQUIRE(BadWeights, reference_file_.empty() || reference_downscale_ == file.reference_downscale, printable(use.path),
                 ": wants a control clip ", file.reference_downscale, " times smaller than the video, ", reference_file_, " one ",
                 reference_downscale_, " times smaller");
    reference_downscale_ = file.reference_downscale;
    reference_file_ = printable(use.path);
  }
}

void WeightChanges::add_to_rows(const std::string& name, at::Tensor& rows, int64_t begin) const {
  const auto part = [&](const TensorEntry& entry, const std::shared_ptr<const TensorSource>& source) {
    return to_tensor(entry, source).narrow(0, begin, rows.size(0)).to(at::kFloat);
  };
  for (const Change& change : changes_.at(name)) {
    if (change.full) {
      rows.add_(part(*change.full, change.source), change.factor);
    } else {
      rows.addmm_(part(*change.up, change.source), as_float(*change.down, change.source), /*beta=*/1, change.factor);
    }
  }
}

at::Tensor WeightChanges::applied(const std::string& name, const at::Tensor& weight) const {
  at::Tensor sum = weight.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  const auto part = [&](const TensorEntry* entry, const Change& change) { return as_float(*entry, change.source, weight.device()); };
  for (const Change& change : changes_.at(name)) {
    if (change.full) {
      sum.add_(part(change.full, change), change.factor);
    } else {
      sum.addmm_(part(change.up, change), part(change.down, change), /*beta=*/1, change.factor);
    }
  }
  return sum;
}

}  // namespace ltxv
