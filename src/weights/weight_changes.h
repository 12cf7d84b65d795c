#pragma once
// What LoRA files add to the weights of a model, weight by weight. The files of the model are never written to: whoever reads a
// changed weight gets a copy.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "weights/lora_file.h"

namespace ltxv {

/// One LoRA file and how strongly it acts.
struct LoraUse {
  std::string path;
  double strength = 1;
};

/// Canonical names of a component's weights and their shapes.
using WeightShapes = std::map<std::string, std::vector<int64_t>>;

/// Immutable, safe to share between threads.
class WeightChanges {
 public:
  /// Opens the files and finds the weight of every tensor in them. A strength of 0 is checked and then left out.
  /// Errors: as open_tensors and read_lora; BadWeights listing (up to ten of) the keys that no weight answers to, or naming a tensor
  ///         and both shapes where a file was made for a model of another width; NumericError for NaN or Inf.
  WeightChanges(const std::vector<LoraUse>& uses, const WeightShapes& shapes, const KeyMap& other_spelling, FileAccess access);

  /// Whether anything is added to the weight of this canonical name.
  bool touches(const std::string& name) const { return changes_.count(name) > 0; }

  /// weight + sum of strength * (scale * up x down, or a full difference), in f32 whatever the weight's dtype, in memory of its own on the weight's device.
  at::Tensor applied(const std::string& name, const at::Tensor& weight) const;

  /// The same for some rows of a matrix, in place: rows begin, … of the weight, f32, without making the whole of what is added.
  /// Shapes: rows [count,C].
  void add_to_rows(const std::string& name, at::Tensor& rows, int64_t begin) const;

  /// How many weights are changed.
  int64_t size() const { return static_cast<int64_t>(changes_.size()); }
  /// How much smaller than the video the control clip is. Errors (of the constructor): files that state different factors.
  int64_t reference_downscale() const { return reference_downscale_; }
  /// Remarks for the log: what was left out.
  const std::vector<std::string>& remarks() const { return remarks_; }

 private:
  struct Change {
    const TensorEntry *down = nullptr, *up = nullptr;  // either a pair
    const TensorEntry* full = nullptr;                 // or one of the weight's own shape
    double factor = 1;
    std::shared_ptr<const TensorSource> source;
  };
  void add_file(const LoraUse& use, const WeightShapes& shapes, const ModuleNames& names, FileAccess access);

  std::map<std::string, std::vector<Change>> changes_;
  std::vector<std::string> remarks_;
  int64_t reference_downscale_ = 1;
  std::string reference_file_;
};

}  // namespace ltxv
