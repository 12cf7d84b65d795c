#include "base/transfer.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <sys/mman.h>

#include <algorithm>

namespace ltxv {
namespace {

c10::Stream current_stream(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

// Memory that was never touched costs a fault a page; half a gigabyte of frames is 140 thousand small ones.
void ask_for_large_pages(const at::Tensor& t) {
  constexpr uintptr_t kLarge = 2 << 20;
  const auto begin = (reinterpret_cast<uintptr_t>(t.data_ptr()) + kLarge - 1) / kLarge * kLarge;
  const auto end = (reinterpret_cast<uintptr_t>(t.data_ptr()) + t.nbytes()) / kLarge * kLarge;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

}  // namespace

at::Tensor to_device(const at::Tensor& t, at::Device device) {
  if (!t.defined() || t.device() == device) return t;
  // Page-locked memory is scarce and slow to get: what is large is no part of a step, and may wait.
  constexpr size_t kMostPinned = 64 << 20;
  if (!device.is_cuda() || !t.is_cpu() || t.nbytes() > kMostPinned) return t.to(device);
  // Plain memory would make the driver wait for the stream before it copies.
  return t.pin_memory().to(device, /*non_blocking=*/true);
}

at::Tensor to_host(const at::Tensor& t) {
  if (!t.defined() || t.is_cpu()) return t;
  at::Tensor out = at::empty(t.sizes(), t.options().device(at::kCPU));
  to_host(t, out);
  return out;
}

void to_host(const at::Tensor& t, at::Tensor out) {
  constexpr int64_t kStageBytes = 32 << 20;
  if (!t.is_cuda() || static_cast<int64_t>(t.nbytes()) < kStageBytes) {
    out.copy_(t);
    return;
  }
  ask_for_large_pages(out);
  struct Stage {
    at::Tensor values;  // page-locked
    c10::Event full;
    int64_t begin = 0;
  };
  const at::Tensor from = t.contiguous().view({-1}), to = out.view({-1});
  const int64_t most = kStageBytes / from.element_size(), count = (from.numel() + most - 1) / most;
  std::deque<Stage> stages;
  for (int i = 0; i < 2; ++i)
    stages.push_back({at::empty({most}, at::TensorOptions().dtype(t.scalar_type()).pinned_memory(true)), c10::Event(t.device().type())});
  for (int64_t i = 0; i <= count; ++i) {
    if (i < count) {
      Stage& next = stages[i % 2];
      next.begin = i * most;
      const int64_t length = std::min(most, from.numel() - next.begin);
      next.values.narrow(0, 0, length).copy_(from.narrow(0, next.begin, length), /*non_blocking=*/true);
      next.full.record(current_stream(t.device()));
    }
    if (i == 0) continue;
    Stage& last = stages[(i - 1) % 2];
    last.full.synchronize();
    const int64_t length = std::min(most, from.numel() - last.begin);
    to.narrow(0, last.begin, length).copy_(last.values.narrow(0, 0, length));
  }
}

void wait_for(at::Device device) {
  if (!device.is_cpu()) current_stream(device).synchronize();
}

void release_cached_memory(at::Device device) {
  if (device.is_cuda()) at::getDeviceAllocator(device.type())->emptyCache();
}

Uploader::Stage& Uploader::next_stage() {
  constexpr size_t kStages = 2;
  constexpr int64_t kStageBytes = 64 << 20;  // large enough to hide the cost of a copy's start, small beside any host's memory
  if (stages_.size() < kStages) {
    const auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(true);
    stages_.push_back({at::empty({kStageBytes}, options), c10::Event(device_.type())});
    return stages_.back();
  }
  Stage& stage = stages_[turn_++ % kStages];
  stage.free.synchronize();
  return stage;
}

at::Tensor Uploader::upload(const at::Tensor& values, at::ScalarType dtype) {
  at::Tensor out = at::empty(values.sizes(), at::TensorOptions().dtype(dtype).device(device_));
  copy(values, out);
  return out;
}

void Uploader::copy(const at::Tensor& values, at::Tensor& to) {
  if (!device_.is_cuda() || !values.is_cpu()) {
    to.copy_(values);
    return;
  }
  const at::Tensor from = values.contiguous().view({-1}), flat = to.view({-1});
  const auto element = static_cast<int64_t>(c10::elementSize(to.scalar_type()));
  for (int64_t begin = 0; begin < from.numel();) {
    Stage& stage = next_stage();
    const int64_t count = std::min(from.numel() - begin, stage.bytes.numel() / element);
    const at::Tensor piece = stage.bytes.narrow(0, 0, count * element).view(to.scalar_type());
    piece.copy_(from.narrow(0, begin, count));
    flat.narrow(0, begin, count).copy_(piece, /*non_blocking=*/true);
    stage.free.record(current_stream(device_));
    begin += count;
  }
}

}  // namespace ltxv
