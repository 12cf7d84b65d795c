#pragma once
// A device for machines without one: its memory is the host's and its results are the CPU's, but ATen takes it for another device. What
// a GPU would refuse, tensors of two devices in one operation, is refused, and what would make the host wait is counted.
#include <cstdint>

#include "base/tensor.h"

namespace ltxv::test {

inline constexpr int kFakeDeviceCount = 3;
/// LibTorch's slot for a backend from outside, devices 0 to 2. The first call registers it.
at::Device fake_device(int index = 0);

struct FakeDeviceCounts {
  int64_t waits = 0;       ///< values read by the host: item(), copies that block, waits for a stream
  int64_t operations = 0;
};
/// Since the process began.
FakeDeviceCounts fake_device_counts();

}  // namespace ltxv::test
