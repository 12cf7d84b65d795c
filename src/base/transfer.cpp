#include "base/transfer.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

namespace ltxv {
namespace {

c10::Stream current_stream(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

}  // namespace

at::Tensor to_device(const at::Tensor& t, at::Device device) {
  if (!t.defined() || t.device() == device) return t;
  // Page-locked memory is scarce and slow to get: what is large is no part of a step, and may wait.
  constexpr size_t kMostPinned = 64 << 20;
  if (!device.is_cuda() || !t.is_cpu() || t.nbytes() > kMostPinned) return t.to(device);
  // Plain memory would make the driver wait for the stream before it copies.
  return t.pin_memory().to(device, /*non_blocking=*/true);
}

at::Tensor to_host(const at::Tensor& t) { return !t.defined() || t.is_cpu() ? t : t.to(at::kCPU); }

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
