#pragma once
// Self-attention over tokens that several ranks have in parts.
#include <functional>
#include <vector>

#include "base/ranks.h"
#include "base/tensor.h"

namespace ltxv {

/// Each member has all heads of some rows. For the attention it gets all rows of some heads from the others, and gives them back:
/// every head's attention is the one that a single rank would have computed, over the same numbers. Members may be on different
/// devices; copies go from device to device, in the order of the current streams, and the host does not wait for them.
/// Source: Jacobs et al., "DeepSpeed Ulysses", arXiv:2309.14509, section 3.1.
class HeadExchange {
 public:
  /// For rows.count members of `ranks`; each has at least one row and one head.
  HeadExchange(Ranks& ranks, Split rows, int64_t head_count);

  /// Shapes: [P,N,heads of a member * E] each -> the same.
  using Attend = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t head_count)>;
  /// Shapes: q, k, v [P, rows of the member, D], D divisible by the heads -> the same. All members call it, in the same order; until the
  /// next call, or the end of this object, what they gave must not be written to.   Errors: those of `attend`, OtherRankFailed.
  at::Tensor attention(int64_t member, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Attend& attend);

  /// What a member has read of the others so far.
  int64_t bytes_received(int64_t member) const { return members_[static_cast<size_t>(member)].bytes_received; }

 private:
  struct Member {
    std::vector<at::Tensor> shown[2];  ///< to the others, in turns: who is at one has left the one before
    int64_t turn = 0, bytes_received = 0;
  };
  /// Shows tensors to the others, and returns once theirs are to be seen: in shown[turn] of each.
  int64_t show(int64_t member, std::vector<at::Tensor> tensors);
  /// `part` of the tensor `which` of every member, joined along `axis`.
  at::Tensor gathered(int64_t member, int64_t turn, size_t which, const Split& parts, int64_t unit, int64_t axis,
                      const std::function<at::Tensor(const at::Tensor&)>& part);

  Split rows_, heads_;
  Ranks::Meeting meeting_;
  std::vector<Member> members_;
};

}  // namespace ltxv
