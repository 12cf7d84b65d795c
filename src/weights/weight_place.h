#pragma once
// Where the weights of a component are once they are read and checked, if not in the host's memory.
#include <exception>
#include <memory>
#include <mutex>

#include "base/tensor.h"

namespace ltxv {

/// Filled by one thread while a component is built; used by the component, under hold(), from any.
class WeightPlace {
 public:
  virtual ~WeightPlace() = default;
  virtual at::Device device() const = 0;
  /// The tensor, from the host or the device, in `dtype` at its place. Shapes: any, contiguous -> the same.
  virtual at::Tensor place(const at::Tensor& values, at::ScalarType dtype) = 0;
  /// What is placed from here to the next call belongs to block `index` of a network that runs block by block; -1: to none.
  virtual void start_block(int64_t index) {}
  /// Whether the tensors of a block hold their values only between enter() and leave().
  virtual bool takes_turns() const { return false; }

  /// Held during one pass through a network whose blocks take turns: passes of several threads are started one after the other.
  virtual std::unique_lock<std::mutex> hold() { return {}; }
  /// Called in the order of execution around the work of each block.
  virtual void enter(int64_t block) {}
  virtual void leave(int64_t block) {}
};

/// One block's work. `place` may be null: weights in the host's memory.
class BlockUse {
 public:
  BlockUse(WeightPlace* place, int64_t block) : place_(place), block_(block) {
    if (place_) place_->enter(block_);
  }
  ~BlockUse() noexcept(false) {
    if (!place_) return;
    if (std::uncaught_exceptions() == exceptions_) {
      place_->leave(block_);
      return;
    }
    try {
      place_->leave(block_);
    } catch (...) {  // the first error is the one to report
    }
  }
  BlockUse(const BlockUse&) = delete;
  BlockUse& operator=(const BlockUse&) = delete;

 private:
  WeightPlace* place_;
  int64_t block_;
  int exceptions_ = std::uncaught_exceptions();
};

/// On the device for as long as the component lives.
std::shared_ptr<WeightPlace> resident_place(at::Device device);

/// For a device that does not hold all of a network: what belongs to no block is on the device, the blocks stay in the host's memory
/// (in their mapped file where it has the compute dtype) and take turns in two buffers; one is filled while the other is computed with.
/// `pinned` keeps a page-locked copy of them, which the device reads without the host's help.
std::shared_ptr<WeightPlace> turning_place(at::Device device, bool pinned);

}  // namespace ltxv
