#include "weights/weight_place.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/transfer.h"

namespace ltxv {
namespace {

class ResidentPlace : public WeightPlace {
 public:
  explicit ResidentPlace(at::Device device) : uploader_(device) {}
  at::Device device() const override { return uploader_.device(); }
  at::Tensor place(const at::Tensor& values, at::ScalarType dtype) override { return uploader_.upload(values, dtype); }

 private:
  Uploader uploader_;
};

/// Makes a stream current for this thread.
class OnStream {
 public:
  OnStream(at::Device device, c10::Stream stream) : guard_(device.type()), before_(guard_.exchangeStream(stream)) {}
  ~OnStream() { guard_.exchangeStream(before_); }
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;

 private:
  c10::impl::VirtualGuardImpl guard_;
  c10::Stream before_;
};

// Two slots of buffers; block i uses slot i % 2. Events order the stream that copies and the streams that compute:
//   filled: recorded behind the copies into a slot, waited for in front of the block's work
//   free:   recorded behind the block's work, waited for in front of the next copies into its slot
class TurningPlace : public WeightPlace {
 public:
  TurningPlace(at::Device device, bool pinned)
      : uploader_(device),
        pinned_(pinned && device.is_cuda()),
        copies_(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device, /*isHighPriority=*/false)) {}

  // The buffers go after this object (they belong to the component): nothing may still be on its way into them.
  ~TurningPlace() override {
    try {
      copies_.synchronize();
    } catch (...) {  // the device failed
    }
  }
  at::Device device() const override { return uploader_.device(); }
  bool takes_turns() const override { return true; }
  std::unique_lock<std::mutex> hold() override { return std::unique_lock(mutex_); }

  void start_block(int64_t index) override {
    block_ = index;
    next_ = 0;
    if (index >= static_cast<int64_t>(host_.size())) host_.resize(static_cast<size_t>(index) + 1);
  }

  at::Tensor place(const at::Tensor& values, at::ScalarType dtype) override {
    if (block_ < 0) return uploader_.upload(values, dtype);
    at::Tensor kept = to_host(values).to(dtype).contiguous();
    if (pinned_) kept = kept.pin_memory();
    host_[static_cast<size_t>(block_)].push_back(kept);
    auto& buffers = slot(block_).buffers;
    // Blocks are equal in all released models. Where one stores a weight in another type, it gets a buffer of its own.
    if (next_ == buffers.size()) buffers.emplace_back();
    std::vector<at::Tensor>& alike = buffers[next_++];
    for (const at::Tensor& buffer : alike)
      if (buffer.sizes() == kept.sizes() && buffer.scalar_type() == kept.scalar_type()) return remember(buffer);
    alike.push_back(at::empty(kept.sizes(), kept.options().device(device()).pinned_memory(false)));
    return remember(alike.back());
  }

  void enter(int64_t block) override {
    Slot& s = slot(block);
    if (s.holds != block) load(block);
    s.filled->block(current());
  }

  void leave(int64_t block) override {
    Slot& s = slot(block);
    if (!s.free) s.free.emplace(device().type());
    s.free->record(current());
    // The work of this block is on its way, so there is time to copy.
    const int64_t next = (block + 1) % static_cast<int64_t>(host_.size());
    if (slot(next).holds != next) load(next);
  }

 private:
  struct Slot {
    std::vector<std::vector<at::Tensor>> buffers;  // of the n-th weight of a block
    std::optional<c10::Event> filled, free;
    int64_t holds = -1;
  };

  Slot& slot(int64_t block) { return slots_[static_cast<size_t>(block) % slots_.size()]; }
  c10::Stream current() const { return c10::impl::VirtualGuardImpl(device().type()).getStream(device()); }

  at::Tensor remember(const at::Tensor& buffer) {
    targets_.resize(host_.size());
    targets_[static_cast<size_t>(block_)].push_back(buffer);
    return buffer;
  }

  void load(int64_t block) {
    Slot& s = slot(block);
    const OnStream on_copies(device(), copies_);
    if (s.free) s.free->block(copies_);
    const auto& from = host_[static_cast<size_t>(block)];
    auto& to = targets_[static_cast<size_t>(block)];
    for (size_t i = 0; i < from.size(); ++i) {
      if (pinned_) {
        to[i].copy_(from[i], /*non_blocking=*/true);
      } else {
        uploader_.copy(from[i], to[i]);
      }
    }
    if (!s.filled) s.filled.emplace(device().type());
    s.filled->record(copies_);
    s.holds = block;
  }

  Uploader uploader_;
  bool pinned_;
  c10::Stream copies_;
  std::mutex mutex_;
  std::array<Slot, 2> slots_;
  std::vector<std::vector<at::Tensor>> host_, targets_;  // of each block, in the order they were placed
  int64_t block_ = -1;
  size_t next_ = 0;
};

}  // namespace

std::shared_ptr<WeightPlace> resident_place(at::Device device) { return std::make_shared<ResidentPlace>(device); }

std::shared_ptr<WeightPlace> turning_place(at::Device device, bool pinned) {
  return std::make_shared<TurningPlace>(device, pinned);
}

}  // namespace ltxv
