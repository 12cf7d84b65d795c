#include "scratch.h"

namespace ltxv::ops {

at::Tensor Scratch::take(at::IntArrayRef sizes, at::ScalarType dtype) {
  if (!device_.is_cpu()) return at::empty(sizes, at::TensorOptions().dtype(dtype).device(device_));
  const int64_t bytes = c10::multiply_integers(sizes) * static_cast<int64_t>(c10::elementSize(dtype));
  const auto is_free = [](const Block& block) { return block.bytes.storage().use_count() == 1; };
  ++clock_;
  Block* best = nullptr;
  for (Block& block : blocks_) {
    if (is_free(block) && block.bytes.numel() >= bytes && (!best || block.bytes.numel() < best->bytes.numel())) best = &block;
  }
  // A block four times too big would hold memory that the next big request then has to allocate again.
  if (!best || best->bytes.numel() > 4 * bytes + (1 << 20)) {
    // What the last steps of the network did not touch belongs to a stage that is over.
    constexpr int64_t kStepsKept = 16;
    std::erase_if(blocks_, [&](const Block& block) { return is_free(block) && block.last_taken + kStepsKept < clock_; });
    // One block grows instead of another one being added: there are as many as tensors were there at once.
    auto largest = blocks_.end();
    for (auto block = blocks_.begin(); block != blocks_.end(); ++block)
      if (is_free(*block) && block->bytes.numel() < bytes && (largest == blocks_.end() || block->bytes.numel() > largest->bytes.numel()))
        largest = block;
    if (largest != blocks_.end()) blocks_.erase(largest);
    blocks_.push_back({at::empty({bytes}, at::kByte), clock_});
    best = &blocks_.back();
  }
  best->last_taken = clock_;
  at::Tensor out = at::empty({0}, at::TensorOptions(dtype));
  out.set_(best->bytes.storage(), 0, sizes);
  return out;
}

at::Tensor Scratch::take_volume(int64_t b, int64_t c, int64_t t, int64_t h, int64_t w, at::ScalarType dtype) {
  return take({b, t, h, w, c}, dtype).permute({0, 4, 1, 2, 3});
}

at::Tensor Scratch::as_volume(const at::Tensor& x) {
  if (is_channels_last(x)) return x;
  at::Tensor out = take_volume(x.size(0), x.size(1), x.size(2), x.size(3), x.size(4), x.scalar_type());
  return out.copy_(x);
}

bool is_channels_last(const at::Tensor& x) { return x.permute({0, 2, 3, 4, 1}).is_contiguous(); }

}  // namespace ltxv::ops
