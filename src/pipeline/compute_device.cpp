#include "pipeline/compute_device.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "cuda_services.h"
#include "pipeline/cuda_probe.h"

namespace ltxv {

ComputeDevice open_compute_device(const std::string& word) {
  const DeviceWord asked = parse_device(word);
  if (asked.kind == DeviceWord::Kind::cpu) return {};
  const CudaProbe probe = probe_cuda();
  std::string missing = probe.missing;
  if (missing.empty() && asked.index >= static_cast<int>(probe.devices.size())) {
    missing = text("there is no such device; the last one is cuda:", probe.devices.size() - 1);
  }
  if (missing.empty()) missing = ops::open_cuda_services();
  if (missing.empty()) {
    const CudaDevice& found = probe.devices[static_cast<size_t>(asked.index)];
    missing = ops::cuda_services()->use_device(asked.index);
    if (missing.empty()) {
      return {.device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(asked.index)),
              .name = found.name,
              .memory_bytes = found.memory_bytes};
    }
  }
  LTXV_REQUIRE(DeviceError, asked.kind == DeviceWord::Kind::automatic, "device ", word, ": ", missing);
  return {.note = missing};
}

std::vector<ComputeDevice> open_compute_devices(const std::string& words) {
  std::vector<ComputeDevice> devices;
  for (const std::string& word : parse_devices(words)) devices.push_back(open_compute_device(word));
  return devices;
}

void limit_device_memory(const ComputeDevice& device, int64_t bytes) {
  constexpr int64_t kContext = 512ll << 20;  // what CUDA takes beside LibTorch's allocator
  if (device.device.is_cuda() && bytes > 0) ops::cuda_services()->limit_memory(device.device.index(), std::max(bytes - kContext, kContext));
}

c10::Stream StreamPool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_, /*isHighPriority=*/false);
  const c10::Stream stream = free_.back();
  free_.pop_back();
  return stream;
}

void StreamPool::give_back(c10::Stream stream) {
  const std::lock_guard lock(mutex_);
  free_.push_back(stream);
}

PoolStream::~PoolStream() {
  try {
    stream_.synchronize();
    pool_.give_back(stream_);
  } catch (...) {  // the device failed; what it was asked for has failed with the same error
  }
}

struct OnDevice::State {
  explicit State(StreamPool& pool)
      : guard(pool.device().type()), device_before(guard.exchangeDevice(pool.device())), own(pool), stream_before(guard.exchangeStream(own.get())) {}
  ~State() {
    guard.exchangeStream(stream_before);
    guard.uncheckedSetDevice(device_before);
  }
  c10::impl::VirtualGuardImpl guard;
  at::Device device_before;
  PoolStream own;
  c10::Stream stream_before;
};

OnDevice::OnDevice(StreamPool& pool) {
  if (!pool.device().is_cpu()) state_ = std::make_unique<State>(pool);
}

OnDevice::~OnDevice() = default;

}  // namespace ltxv
