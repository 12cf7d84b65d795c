#include "support/fake_device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/NativeFunctions.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

namespace ltxv::test {
namespace {

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;
std::atomic<int64_t> waits, operations;
thread_local int inside = 0;  // of an operation that computes on the CPU in the device's place
thread_local c10::DeviceIndex current_device = 0;
thread_local std::array<c10::StreamId, kFakeDeviceCount> current_stream{};

struct Inside {
  Inside() { ++inside; }
  ~Inside() { --inside; }
};

void count_wait() {
  if (inside == 0) ++waits;
}

struct FakeAllocator final : c10::Allocator {
  explicit FakeAllocator(c10::DeviceIndex index) : device(kType, index) {}
  const c10::Device device;
  c10::DataPtr allocate(size_t bytes) override {
    void* const data = std::malloc(bytes == 0 ? 1 : bytes);
    // Not zeros: what is read before it is written shows.
    if (bytes > 0) std::memset(data, 0xff, bytes);
    return {data, data, &std::free, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

FakeAllocator* allocator_of(std::optional<at::Device> device) {
  static FakeAllocator allocators[kFakeDeviceCount] = {FakeAllocator(0), FakeAllocator(1), FakeAllocator(2)};
  return &allocators[device && device->has_index() ? device->index() : current_device];
}

struct FakeGuard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = kType;
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device device) const override { return {kType, std::exchange(current_device, device.index())}; }
  c10::Device getDevice() const override { return {kType, current_device}; }
  void setDevice(c10::Device device) const override { current_device = device.index(); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current_device = device.index(); }
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::UNSAFE, device, current_stream[device.index()]); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    static std::atomic<c10::StreamId> next = 0;
    return c10::Stream(c10::Stream::UNSAFE, device, ++next);
  }
  c10::Stream exchangeStream(c10::Stream s) const override {
    return c10::Stream(c10::Stream::UNSAFE, s.device(), std::exchange(current_stream[s.device_index()], s.id()));
  }
  c10::DeviceIndex deviceCount() const noexcept override { return kFakeDeviceCount; }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override { *event = &waits; }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { count_wait(); }
  void synchronizeStream(const c10::Stream&) const override { count_wait(); }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  return at::Tensor(at::detail::empty_strided_generic(sizes, strides, allocator_of(device), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                                      dtype.value_or(at::kFloat)));
}

at::Tensor empty(at::IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device> device,
                 std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::Tensor(at::detail::empty_generic(sizes, allocator_of(device), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                              dtype.value_or(at::kFloat), format));
}

// The same memory as a CPU tensor.
at::Tensor on_cpu(const at::Tensor& t) {
  if (t.is_cpu()) return t;
  return at::from_blob(t.data_ptr(), t.sizes(), t.strides(), at::TensorOptions().dtype(t.dtype()));
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool non_blocking) {
  if (to.is_cpu() && !non_blocking) count_wait();
  on_cpu(to).copy_(on_cpu(self));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  if (to.sizes() != self.sizes()) to.resize_(self.sizes());
  return copy_from(self, to, true);
}

at::Scalar local_scalar(const at::Tensor& self) {
  count_wait();
  return at::_local_scalar_dense(on_cpu(self));
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias, c10::SymIntArrayRef stride,
                       c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
                       c10::SymInt groups) {
  TORCH_CHECK(x.device() == w.device() && (!bias || !bias->defined() || bias->device() == x.device()),
              "fake device: a convolution of tensors of two devices");
  const auto b = bias && bias->defined() ? std::optional(on_cpu(*bias)) : std::nullopt;
  const auto y = at::convolution_symint(on_cpu(x), on_cpu(w), b, stride, padding, dilation, transposed, output_padding, groups);
  return y.to(x.device());
}

void check_devices(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  std::set<std::string> devices;
  const auto look = [&](const at::Tensor& t) {
    if (t.defined() && t.dim() > 0) devices.insert(t.device().str());  // a number from the host is fine everywhere
  };
  for (const auto& argument : torch::jit::last(stack, op.schema().arguments().size())) {
    if (argument.isTensor()) look(argument.toTensor());
    if (argument.isTensorList())
      for (const at::Tensor& t : argument.toTensorVector()) look(t);
  }
  TORCH_CHECK(devices.size() < 2, "fake device: ", op.operator_name(), " got tensors of ", *devices.begin(), " and ", *devices.rbegin());
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  check_devices(op, *stack);
  ++operations;
  const Inside within;
  at::native::cpu_fallback(op, stack);
}

}  // namespace

at::Device fake_device(int index) {
  static const bool registered = [] {
    static const FakeGuard guard;
    c10::SetAllocator(c10::DeviceType::PrivateUse1, allocator_of(at::Device(kType, 0)));
    c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::PrivateUse1)].store(&guard);
    static torch::Library ops(torch::Library::IMPL, "aten", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
    ops.impl("empty.memory_format", TORCH_FN(empty));
    ops.impl("empty_strided", TORCH_FN(empty_strided));
    ops.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
    ops.impl("view", TORCH_FN(at::native::view));
    ops.impl("unfold", TORCH_FN(at::native::unfold));
    ops.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
    ops.impl("resize_", TORCH_FN(at::native::resize_));
    ops.impl("_copy_from", TORCH_FN(copy_from));
    ops.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
    ops.impl("_local_scalar_dense", TORCH_FN(local_scalar));
    ops.impl("convolution_overrideable", TORCH_FN(convolution));
    static torch::Library all(torch::Library::IMPL, "_", c10::DispatchKey::PrivateUse1, __FILE__, __LINE__);
    all.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
    return true;
  }();
  (void)registered;
  return {kType, static_cast<c10::DeviceIndex>(index)};
}

FakeDeviceCounts fake_device_counts() { return {waits, operations}; }

}  // namespace ltxv::test
