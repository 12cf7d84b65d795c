#include "weights/parameters.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "weights/dequantise.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

bool is_floating(StoredType type) { return is_block_type(type) || at::isFloatingType(scalar_type(type)); }

// Beside the weight of a layer in files of scaled fp8: both spellings of its scale; what only concerns fp8 arithmetic, which is not
// done here; the mark that names the format of a layer.
constexpr const char* kWeightScales[] = {"scale_weight", "weight_scale"};
constexpr const char* kInputScales[] = {"scale_input", "input_scale"};
constexpr std::string_view kLayerMark = ".comfy_quant", kFileMark = "scaled_fp8", kKnownFormat = "float8_e4m3fn";

// "a.b" for "a.b.weight"; empty for any other name.
std::string layer_of(const std::string& weight) {
  constexpr std::string_view kEnd = ".weight";
  return weight.ends_with(kEnd) ? weight.substr(0, weight.size() - kEnd.size()) : std::string();
}

// Both names where the file spells it differently, so that a message can be acted on.
std::string named(const std::string& name, const TensorEntry& entry) {
  const std::string own = text("tensor '", printable(name), "'");
  return name == entry.name ? own : text(own, " (there '", printable(entry.name), "')");
}

}  // namespace

Parameters::Parameters(std::shared_ptr<const TensorSource> source, const KeyMap& map, at::ScalarType dtype,
                       std::string component, std::shared_ptr<const WeightChanges> changes, Reading reading)
    : source_(std::move(source)), dtype_(dtype), component_(std::move(component)), changes_(std::move(changes)), reading_(reading) {
  for (const TensorEntry& entry : source_->entries()) {
    const std::string name = map.apply(entry.name);
    if (name.empty()) continue;
    if (name == kFileMark || name.ends_with(kLayerMark)) {
      const std::string_view content(reinterpret_cast<const char*>(entry.data), entry.byte_count);
      LTXV_REQUIRE(Unsupported, name == kFileMark || content.find(kKnownFormat) != content.npos, printable(entry.file), ": ", component_,
                   ": '", printable(entry.name), "' names the format ", printable(content), ", only ", kKnownFormat, " is read");
      scaled_ = true;
      continue;
    }
    for (const char* scale : kWeightScales) scaled_ |= name.ends_with(text(".", scale));
    const auto [at, fresh] = by_name_.emplace(name, &entry);
    LTXV_REQUIRE(BadWeights, fresh, printable(entry.file), ": ", component_, ": tensors '", printable(at->second->name),
                 "' and '", printable(entry.name), "' both mean '", printable(name), "'");
  }
}

at::Tensor Parameters::take(const std::string& name, at::IntArrayRef shape) { return take_as(name, shape, dtype_); }

Parameters::Claim Parameters::claim(const std::string& name, at::IntArrayRef shape) {
  const auto at = by_name_.find(name);
  LTXV_REQUIRE(BadWeights, at != by_name_.end(), printable(source_->path()), ": ", component_, ": tensor '",
               printable(name), "' of shape ", shape_text(shape.vec()), " is missing");
  const TensorEntry& entry = *at->second;
  const std::string where = text(printable(entry.file), ": ", component_, ": ", named(name, entry));
  LTXV_REQUIRE(BadWeights, at::IntArrayRef(entry.shape) == shape, where, " has the shape ", shape_text(entry.shape),
               ", ", shape_text(shape.vec()), " is needed");
  LTXV_REQUIRE(BadWeights, claimed_.insert(name).second, where, " is used twice");
  return {name, entry, where};
}

at::Tensor Parameters::converted(const Claim& claim, at::ScalarType dtype, const at::Tensor& scales) const {
  const auto& [name, entry, where] = claim;
  if (!is_floating(entry.type) || !at::isFloatingType(dtype)) {
    // Integers are counts, indices or quantised codes: reading one as a float, or the reverse, is never what the file
    // means.
    LTXV_REQUIRE(BadWeights, !is_block_type(entry.type) && scalar_type(entry.type) == dtype, where, " is stored as ",
                 stored_type_name(entry.type), ", ", c10::toString(dtype), " is needed");
    return to_tensor(entry, source_);
  }
  // Small ones are read all the same: statistics and scales are looked at while a component is built.
  constexpr uint64_t kFewBytes = 1 << 16;
  if (reading_ == Reading::names) {
    if (entry.byte_count > kFewBytes) return at::empty(entry.shape, at::TensorOptions().dtype(dtype).device(at::kMeta));
    return (is_block_type(entry.type) ? widened(entry) : to_tensor(entry, source_)).to(dtype);
  }
  LTXV_REQUIRE(NumericError, !has_nan_or_inf(entry), where, " holds NaN or Inf");
  at::Tensor tensor = is_block_type(entry.type) ? widened(entry) : to_tensor(entry, source_);
  const at::ScalarType stored = tensor.scalar_type();
  if (scales.defined()) tensor = tensor.to(at::kFloat) * scales.unsqueeze(-1);
  if (is_changed(name)) {
    tensor = changes_->applied(name, tensor).to(dtype);
    if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);
    LTXV_REQUIRE(NumericError, at::isfinite(tensor).all().item<bool>(), where, " does not stay finite with the LoRAs added");
    return tensor;
  }
  if (tensor.scalar_type() == dtype) {
    if (entry.mapped && tensor.const_data_ptr() == entry.data) mapped_.push_back(&entry);
    return tensor;
  }
  tensor = tensor.to(dtype);
  if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);  // nobody reads the original again
  // The two narrow types are the only ones that a finite weight can overflow.
  if (dtype == at::kHalf && (stored == at::kFloat || stored == at::kDouble || stored == at::kBFloat16)) {
    LTXV_REQUIRE(NumericError, at::isfinite(tensor).all().item<bool>(), where,
                 " has values beyond 65504 and does not fit fp16");
  }
  return tensor;
}

// What converted() gives, on the way to another place. The type is changed while the bytes are copied there.
at::Tensor Parameters::placed(const Claim& claim, at::ScalarType dtype, const at::Tensor& scales) const {
  const TensorEntry& entry = claim.entry;
  if (!place_ || reading_ == Reading::names) return converted(claim, dtype, scales);
  if (!is_floating(entry.type) || !at::isFloatingType(dtype)) return place_->place(converted(claim, dtype), dtype);
  LTXV_REQUIRE(NumericError, !has_nan_or_inf(entry), claim.where, " holds NaN or Inf");
  at::Tensor tensor = is_block_type(entry.type) ? widened(entry) : to_tensor(entry, source_);
  if (scales.defined()) tensor = tensor.to(at::kFloat) * scales.unsqueeze(-1);
  if (is_changed(claim.name)) {
    // The sum is made on the device, where it takes no time.
    tensor = changes_->applied(claim.name, tensor.to(place_->device())).to(dtype);
    LTXV_REQUIRE(NumericError, at::isfinite(tensor).all().item<bool>(), claim.where, " does not stay finite with the LoRAs added");
  }
  tensor = place_->place(tensor, dtype);
  if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);  // copied: nobody reads the original again
  return tensor;
}

at::Tensor Parameters::take_as(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) {
  return placed(claim(name, shape), dtype);
}

StoredWeight Parameters::take_stored(const std::string& name, at::IntArrayRef shape) {
  const auto at = by_name_.find(name);
  const bool narrow = at != by_name_.end() && at->second->type == StoredType::bf16 && dtype_ == at::kFloat;
  StoredWeight weight{take_as(name, shape, narrow ? at::kBFloat16 : dtype_)};
  // A conversion, or a copy of unaligned bytes, lies elsewhere.
  weight.mapped = at->second->mapped && weight.values.is_cpu() && weight.values.const_data_ptr() == at->second->data;
  weight.let_go();  // the check for NaN has read it all
  return weight;
}

MappedWeights Parameters::mapped_weights() { return {source_, std::exchange(mapped_, {})}; }

void MappedWeights::let_go() const {
  for (const TensorEntry* entry : entries_) let_go_of_pages(entry->data, entry->byte_count);
}

void StoredWeight::let_go() const {
  constexpr size_t kWorthTheCall = 1 << 20;
  if (mapped && values.nbytes() >= kWorthTheCall) let_go_of_pages(values.const_data_ptr(), values.nbytes());
}

at::Tensor Parameters::take_scales(const std::string& weight, int64_t row_count) {
  const std::string layer = layer_of(weight);
  for (const char* scale : kInputScales) {
    const std::string name = text(layer, ".", scale);
    if (has(name)) claimed_.insert(name);
  }
  for (const char* scale : kWeightScales) {
    const std::string name = text(layer, ".", scale);
    const auto shape = shape_of(name);
    if (!shape) continue;
    const at::Tensor values = converted(claim(name, *shape), at::kFloat).contiguous().flatten();  // on the host
    LTXV_REQUIRE(BadWeights, values.numel() == 1 || values.numel() == row_count, printable(source_->path()), ": ", component_,
                 ": tensor '", printable(name), "' has ", values.numel(), " scales, 1 or ", row_count, " are needed");
    return values;
  }
  return {};
}

Matrix Parameters::take_matrix(const std::string& name, at::IntArrayRef shape, MatrixUse use) {
  const Claim claimed = claim(name, shape);
  const auto& entry = claimed.entry;
  const bool fp8 = entry.type == StoredType::f8_e4m3 || entry.type == StoredType::f8_e5m2;
  const at::Tensor scales = take_scales(name, shape[0]);
  LTXV_REQUIRE(BadWeights, scales.defined() || !scaled_ || !fp8 || use == MatrixUse::table, claimed.where, " is stored as ",
               stored_type_name(entry.type), " in a file of scaled fp8, but its scale '", printable(layer_of(name)), ".", kWeightScales[0],
               "' is missing");
  // A copy in the compute dtype would be memory that cannot be given back: 19 GB for T5-XXL widened to f32.
  constexpr int64_t kLarge = 1 << 20;
  const bool other_type = (is_half_type(entry.type) || entry.type == StoredType::f32) && scalar_type(entry.type) != dtype_;
  const bool converts = other_type && (dtype_ == at::kFloat || (read_once_ && dtype_ == at::kBFloat16));
  const bool stays_in_file = converts && entry.mapped && !place_ && reading_ == Reading::values && c10::multiply_integers(shape) >= kLarge;
  const bool can_stay_narrow = !place_ || (fp8 && !is_changed(name));
  if (stays_in_file || (is_narrow_type(entry.type) && can_stay_narrow && (dtype_ == at::kFloat || dtype_ == at::kBFloat16))) {
    LTXV_REQUIRE(NumericError, reading_ == Reading::names || !has_nan_or_inf(entry), claimed.where, " holds NaN or Inf");
    if (place_ && reading_ == Reading::values) {
      const at::Tensor codes = place_->place(to_tensor(entry, source_), scalar_type(entry.type));
      if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);
      return {{}, std::make_shared<const NarrowMatrix>(codes, scales.defined() ? place_->place(scales, at::kFloat) : scales, dtype_)};
    }
    if (entry.mapped && reading_ == Reading::values) mapped_.push_back(&entry);
    const NarrowMatrix::Changes changes{is_changed(name) ? changes_ : nullptr, name};
    return {{}, std::make_shared<const NarrowMatrix>(entry, source_, scales, dtype_, changes)};
  }
  return {placed(claimed, dtype_, scales), nullptr};
}

Matrix Parameters::take_matrix_on_host(const std::string& name, at::IntArrayRef shape, MatrixUse use) {
  struct Restore {
    std::shared_ptr<WeightPlace>& to;
    std::shared_ptr<WeightPlace> place;
    ~Restore() { to = std::move(place); }
  } const restore{place_, std::exchange(place_, nullptr)};
  return take_matrix(name, shape, use);
}

bool Parameters::has(const std::string& name) const { return by_name_.count(name) > 0; }

std::optional<std::vector<int64_t>> Parameters::shape_of(const std::string& name) const {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) return std::nullopt;
  return at->second->shape;
}

int64_t Parameters::count_blocks(const std::string& prefix) const {
  const std::string start = prefix + ".";
  int64_t count = 0;
  for (auto at = by_name_.lower_bound(start); at != by_name_.end() && at->first.starts_with(start); ++at) {
    const char* const first = at->first.data() + start.size();
    const char* const last = at->first.data() + at->first.size();
    int64_t index = 0;
    const auto [end, error] = std::from_chars(first, last, index);
    if (error != std::errc() || end == last || *end != '.' || index < 0) continue;
    // A block has at least one tensor, so a larger number is a name made to exhaust memory.
    LTXV_REQUIRE(BadWeights, index < static_cast<int64_t>(by_name_.size()), printable(at->second->file), ": ",
                 component_, ": tensor '", printable(at->first), "' numbers a block beyond the ", by_name_.size(),
                 " tensors there are");
    count = std::max(count, index + 1);
  }
  return count;
}

void Parameters::finish() const {
  constexpr size_t kListed = 10;
  std::vector<std::string> left;
  for (const auto& [name, entry] : by_name_) {
    if (claimed_.count(name) == 0) left.push_back(text("'", printable(entry->name), "' ", shape_text(entry->shape)));
  }
  if (left.empty()) return;
  std::string list;
  for (size_t i = 0; i < std::min(left.size(), kListed); ++i) list.append(i == 0 ? "" : ", ").append(left[i]);
  if (left.size() > kListed) list += ", ...";
  throw BadWeights(text(printable(source_->path()), ": ", component_, ": ", left.size(),
                        left.size() == 1 ? " tensor is" : " tensors are", " not used by this model: ", list));
}

}  // namespace ltxv
