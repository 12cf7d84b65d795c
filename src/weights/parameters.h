#pragma once
// Strict reading of one component's weights: every tensor is claimed exactly once with its shape, and what is missing, left over
// or of another shape is an error that names it and its file.
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "weights/key_map.h"
#include "weights/matrix.h"
#include "weights/tensor_source.h"
#include "weights/weight_changes.h"
#include "weights/weight_place.h"

namespace ltxv {

/// A large weight as its file holds it, for code that reads it once a call and can do without it between calls.
struct StoredWeight {
  at::Tensor values;
  bool mapped = false;  ///< values lie in a mapped file

  /// Gives its memory back until it is read again. Does nothing for small weights and for values that are not in a mapped file.
  void let_go() const;
};

/// Weights that are used where they lie in a mapped file, for code that can do without them between calls. Keeps the file alive.
class MappedWeights {
 public:
  MappedWeights() = default;
  MappedWeights(std::shared_ptr<const TensorSource> source, std::vector<const TensorEntry*> entries)
      : source_(std::move(source)), entries_(std::move(entries)) {}
  /// Gives their memory back until they are read again.
  void let_go() const;

 private:
  std::shared_ptr<const TensorSource> source_;
  std::vector<const TensorEntry*> entries_;
};

/// What a matrix is used as. A file of scaled fp8 has a scale for every fp8 matrix of a linear layer; tables go without.
enum class MatrixUse { linear, table };

/// names: only names, shapes and types are checked. What is claimed has its shape and dtype but, above a few numbers, no values and no
/// memory, so that building a component tells whether a file fits it without reading the file.
enum class Reading { values, names };

class Parameters {
 public:
  /// `map` turns names in the source into canonical ones. `dtype` is the compute dtype: a floating tensor stored in it is used in
  /// place (the tensor keeps the mapped file alive); any other is converted to it once. What `changes` adds to a tensor is added in
  /// f32, before that one conversion.
  /// Errors: BadWeights when two tensors of the source get the same canonical name.
  Parameters(std::shared_ptr<const TensorSource> source, const KeyMap& map, at::ScalarType dtype,
             std::string component, std::shared_ptr<const WeightChanges> changes = nullptr, Reading reading = Reading::values);

  /// Everything taken from now on goes there; LoRAs are added on its device. Null: the host's memory.
  /// Of the narrow types fp8 stays narrow at its place; blocks of GGUF, and fp8 that a LoRA changes, are widened.
  void send_to(std::shared_ptr<WeightPlace> place) { place_ = std::move(place); }
  const std::shared_ptr<WeightPlace>& place() const { return place_; }
  /// From now on: whatever type a large matrix has, it stays in its mapped file and is converted where it is used, for a component
  /// that reads each once a call. In the host's memory only.
  void read_once() { read_once_ = true; }
  /// As WeightPlace::start_block; nothing in the host's memory.
  void start_block(int64_t index) {
    if (place_) place_->start_block(index);
  }

  /// Claims a tensor. Shapes: exactly `shape`. Errors: BadWeights (missing, other shape, claimed before), NumericError (NaN or
  /// Inf inside, or a value that overflows the compute dtype fp16). Integers are never converted: asking for a floating dtype
  /// where one is stored, or the reverse, is BadWeights.
  at::Tensor take(const std::string& name, at::IntArrayRef shape);
  /// The same in a dtype of its own (statistics and tables that stay f32).
  at::Tensor take_as(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype);
  /// The same, but bf16 in the file stays bf16 where the compute dtype is f32: the reader widens, which is exact. Takes no memory
  /// until it is read where it lies in a mapped file.
  StoredWeight take_stored(const std::string& name, at::IntArrayRef shape);
  /// Claims a matrix, and its scales (`<layer>.scale_weight` or `<layer>.weight_scale`) where the file has them: narrow where it is
  /// stored narrow (what LoRAs add is then added where it is used), else as take(). Errors: as take(); BadWeights when a file with scales has none for this layer.
  Matrix take_matrix(const std::string& name, at::IntArrayRef shape, MatrixUse use);
  /// take_matrix in the host's memory, wherever the rest goes.
  Matrix take_matrix_on_host(const std::string& name, at::IntArrayRef shape, MatrixUse use);
  Reading reading() const { return reading_; }
  bool has(const std::string& name) const;
  /// Whether a LoRA changes this tensor: it then has to be read by take(), not kept in the form it is stored in.
  bool is_changed(const std::string& name) const { return changes_ && changes_->touches(name); }
  /// Shape in the file, if the tensor is there; claims nothing.
  std::optional<std::vector<int64_t>> shape_of(const std::string& name) const;
  /// 1 + the largest index n among names `<prefix>.<n>.…`; 0 when there are none.
  int64_t count_blocks(const std::string& prefix) const;

  /// The tensors taken since the last call, or since the beginning, that are used where they lie in a mapped file.
  MappedWeights mapped_weights();

  /// Call when the component is built. Errors: BadWeights listing (up to ten of) the tensors nobody claimed.
  void finish() const;

 private:
  /// The entry of that name, now claimed, and how messages call it.
  struct Claim {
    std::string name;
    const TensorEntry& entry;
    std::string where;
  };
  Claim claim(const std::string& name, at::IntArrayRef shape);
  /// `scales`: as in matrix.h.
  at::Tensor converted(const Claim& claim, at::ScalarType dtype, const at::Tensor& scales = {}) const;
  at::Tensor placed(const Claim& claim, at::ScalarType dtype, const at::Tensor& scales = {}) const;
  at::Tensor take_scales(const std::string& weight, int64_t row_count);

  std::shared_ptr<const TensorSource> source_;
  bool scaled_ = false;  // a file of scaled fp8
  bool read_once_ = false;
  std::map<std::string, const TensorEntry*> by_name_;
  std::set<std::string> claimed_;
  mutable std::vector<const TensorEntry*> mapped_;  ///< used where they lie, since mapped_weights()
  at::ScalarType dtype_;
  std::string component_;
  std::shared_ptr<const WeightChanges> changes_;
  Reading reading_;
  std::shared_ptr<WeightPlace> place_;
};

/// A path inside the parameters: scope / "attn1" / "to_q".
class Scope {
 public:
  Scope(Parameters& parameters, std::string path = "") : parameters_(&parameters), path_(std::move(path)) {}
  Scope operator/(const std::string& element) const { return {*parameters_, join(element)}; }
  Scope operator/(int64_t index) const { return *this / std::to_string(index); }
  at::Tensor take(const std::string& name, at::IntArrayRef shape) const { return parameters_->take(join(name), shape); }
  at::Tensor take_as(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const {
    return parameters_->take_as(join(name), shape, dtype);
  }
  StoredWeight take_stored(const std::string& name, at::IntArrayRef shape) const {
    return parameters_->take_stored(join(name), shape);
  }
  Matrix take_matrix(const std::string& name, at::IntArrayRef shape, MatrixUse use) const {
    return parameters_->take_matrix(join(name), shape, use);
  }
  Matrix take_matrix_on_host(const std::string& name, at::IntArrayRef shape, MatrixUse use) const {
    return parameters_->take_matrix_on_host(join(name), shape, use);
  }
  bool has(const std::string& name) const { return parameters_->has(join(name)); }
  bool is_changed(const std::string& name) const { return parameters_->is_changed(join(name)); }
  const std::string& path() const { return path_; }
  Parameters& parameters() const { return *parameters_; }

 private:
  std::string join(const std::string& name) const { return path_.empty() ? name : path_ + "." + name; }
  Parameters* parameters_;
  std::string path_;
};

}  // namespace ltxv
