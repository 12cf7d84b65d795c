#include "kernels/sm90/hopper_block.h"

#include <cstring>
#include <sstream>
#include <stdexcept>

namespace ltxv::test {
namespace {

using ops::gpu::sm90::kRowBytes, ops::gpu::kWarpSize, ops::gpu::sm90::Operand;

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  throw std::runtime_error(out.str());
}

const char* name_of(Operand operand) {
  constexpr const char* kNames[] = {"query", "key", "value", "output"};
  return kNames[static_cast<int>(operand)];
}

}  // namespace

HopperBlock::HopperBlock(const Setup& setup) : setup_(setup), fibers_(setup.seed, setup.order) {
  for (const auto& [operand, map] : setup_.maps)
    if (map.sizes[0] % 8 != 0 || map.box[0] * 2 != kRowBytes) fail(name_of(operand), ": a box is not 128 bytes wide");
  shared_.assign(setup.shared_bytes, 0xFF);  // NaN in bf16
  pieces_.resize((setup.shared_bytes + 15) / 16);
  barriers_.resize(64);
  warps_.resize(setup.warps);
  for (auto& warp : warps_) {
    warp.issued.assign(lanes(), 0);
    warp.groups.resize(lanes());
    warp.fenced.assign(lanes(), false);
  }
  warp_syncs_.resize(setup.warps);
  quads_.resize(setup.warps * kWarpSize / 4);
}

void HopperBlock::run(const std::function<void(int)>& body) {
  for (int warp = 0; warp < setup_.warps; ++warp)
    for (int lane = 0; lane < lanes(); ++lane)
      fibers_.add(
          [this, &body, thread = warp * kWarpSize + lane] {
            body(thread);
            if (stores_pending_[thread] != 0) fail("thread ", thread, " ends while the copy engine still reads for it");
          },
          warp);
  fibers_.set_events([this] { return pending_events(); }, [this](size_t i) { run_event(i); });
  fibers_.run();
  check_left_over();
}

void HopperBlock::check_left_over() {
  for (auto& [id, named] : named_)
    if (named.arrived != 0) fail("named barrier ", id, " is left with ", named.arrived, " arrivals of ", named.wanted);
  for (const auto& barrier : barriers_)
    if (barrier.bytes != 0) fail("a barrier is left with bytes to come");
}

HopperBlock::Piece& HopperBlock::piece(uint32_t address) {
  if (address < kBase || (address - kBase) / 16 >= pieces_.size())
    fail("shared memory address ", address, " is outside the block's");
  return pieces_[(address - kBase) / 16];
}

// ---- barriers in shared memory ----

HopperBlock::Barrier& HopperBlock::live(int barrier) {
  if (!barriers_.at(barrier).live) fail("barrier ", barrier, " is used before it is set up");
  return barriers_[barrier];
}

void HopperBlock::init_barrier(int barrier, int count) {
  auto& b = barriers_.at(barrier);
  if (b.live) fail("barrier ", barrier, " is set up twice");
  b.live = true;
  b.count = b.left = count;
}

void HopperBlock::finish_phase_if_due(Barrier& b) {
  if (b.left != 0 || b.bytes != 0) return;
  ++b.phase;
  b.left = b.count;
  fibers_.notify(b.changed);
}

void HopperBlock::arrive(int barrier, int bytes) {
  fibers_.maybe_pass(setup_.pass_chance);
  auto& b = live(barrier);
  if (b.left == 0) fail("barrier ", barrier, " has more arrivals than its count ", b.count);
  b.bytes += bytes;
  --b.left;
  finish_phase_if_due(b);
}

void HopperBlock::wait(int barrier, uint32_t phase) {
  fibers_.maybe_pass(setup_.pass_chance);
  auto& b = live(barrier);
  // try_wait.parity: true when the phase of that parity is over, that is, when the current one has the other parity.
  fibers_.wait_for(b.changed, "a barrier in shared memory", [&] { return (b.phase & 1) != phase; });
}

// ---- barriers of threads ----

void HopperBlock::named(int barrier, int threads, bool wait) {
  fibers_.maybe_pass(setup_.pass_chance);
  if (barrier < 0 || barrier > 15) fail("there is no hardware barrier ", barrier);
  auto& b = named_[barrier];
  if (b.arrived != 0 && b.wanted != threads)
    fail("barrier ", barrier, " is met with ", b.wanted, " and ", threads, " threads");
  b.wanted = threads;
  b.arrived += weight();
  const auto round = b.round;
  if (b.arrived > threads) fail("more than ", threads, " threads at barrier ", barrier);
  if (b.arrived == threads) {
    b.arrived = 0;
    ++b.round;
    fibers_.notify(b.changed);
  } else if (wait) {
    fibers_.wait_for(b.changed, "a barrier of threads", [&] { return b.round != round; });
  }
}

void HopperBlock::warp_sync(int thread) {
  if (lanes() == 1) return;
  auto& b = warp_syncs_[warp_of(thread)];
  const auto round = b.round;
  if (++b.arrived == lanes()) {
    b.arrived = 0;
    ++b.round;
    fibers_.notify(b.changed);
  } else {
    fibers_.wait_for(b.changed, "the other lanes", [&] { return b.round != round; });
  }
}

float HopperBlock::quad(int thread, float value, bool sum) {
  if (lanes() == 1) return value;
  auto& q = quads_[thread / 4];
  q.value = q.arrived == 0 ? value : sum ? q.value + value : std::max(q.value, value);
  const auto round = q.round;
  if (++q.arrived == 4) {
    q.arrived = 0;
    q.result = q.value;  // nobody can end the next round before all four have left this one
    ++q.round;
    fibers_.notify(q.changed);
  } else {
    fibers_.wait_for(q.changed, "the other lanes of a quad", [&] { return q.round != round; });
  }
  return q.result;
}

// ---- the copy engine ----

// Calls visit(shared address, address in global memory or 0 where the box hangs over) for every 16 bytes of a box: the
// swizzle moves them as a whole, and no axis ends inside them (checked by the constructor).
template <class Visit>
void HopperBlock::visit_box(const Copy& copy, Visit visit) {
  const auto& map = *copy.map;
  uint32_t linear = kBase + copy.offset;
  for (uint32_t i3 = 0; i3 < map.box[3]; ++i3)
    for (uint32_t i2 = 0; i2 < map.box[2]; ++i2)
      for (uint32_t i1 = 0; i1 < map.box[1]; ++i1)
        for (uint32_t i0 = 0; i0 < map.box[0]; i0 += 8, linear += 16) {
          const uint64_t at[4] = {copy.at[0] + i0, copy.at[1] + i1, copy.at[2] + i2, copy.at[3] + i3};
          bool inside = true;
          for (int axis = 0; axis < 4; ++axis) inside &= at[axis] < map.sizes[axis];
          const auto offset = at[0] * 2 + at[1] * map.strides[0] + at[2] * map.strides[1] + at[3] * map.strides[2];
          visit(swizzle_address(linear), inside ? reinterpret_cast<uintptr_t>(map.data) + offset : uintptr_t{0});
        }
}

void HopperBlock::load(Operand operand, int offset, int barrier, std::array<int, 4> at) {
  fibers_.maybe_pass(setup_.pass_chance);
  live(barrier);
  if (offset % 1024 != 0) fail("a swizzled tile at ", offset, ", which is no multiple of 1024");
  const Copy copy{false, 0, barrier, &setup_.maps.at(operand), operand, static_cast<uint32_t>(offset), at};
  visit_box(copy, [&](uint32_t address, uintptr_t) {
    auto& p = piece(address);
    if (p.read_by_async != 0) fail(name_of(operand), " row ", at[2], ": the copy overwrites a tile in use");
    if (p.written_by_copy != 0)
      fail(name_of(operand), " row ", at[2], ": the copy overwrites bytes that are under way");
    if (p.dirty >= 0) fail(name_of(operand), " row ", at[2], ": the copy overwrites bytes written without a fence");
    p.written_by_copy = 1;
    p.valid = false;
    std::memset(&shared_[address - kBase], 0xFF, 16);  // NaN until it arrives
  });
  copies_.push_back(copy);
}

void HopperBlock::store(int thread, Operand operand, int offset, std::array<int, 4> at) {
  fibers_.maybe_pass(setup_.pass_chance);
  const Copy copy{true, thread, 0, &setup_.maps.at(operand), operand, static_cast<uint32_t>(offset), at};
  visit_box(copy, [&](uint32_t address, uintptr_t) {
    auto& p = piece(address);
    if (p.dirty >= 0) fail("output row ", at[2], ": the copy reads what thread ", p.dirty, " wrote without a fence");
    if (setup_.detail == Detail::full && p.operand != Operand::output)
      fail("output row ", at[2], ": the copy reads what nobody wrote");
    ++p.read_by_async;
  });
  ++stores_pending_[thread];
  copies_.push_back(copy);
}

void HopperBlock::store_wait(int thread) {
  fibers_.wait_for(store_done_, "its stores", [&] { return stores_pending_[thread] == 0; });
}

void HopperBlock::run_copy(Copy copy) {
  int bytes = 0;
  visit_box(copy, [&](uint32_t address, uintptr_t global) {
    auto* here = &shared_[address - kBase];
    auto& p = piece(address);
    bytes += 16;
    if (copy.is_store) {
      if (global != 0) std::memcpy(reinterpret_cast<void*>(global), here, 16);
      --p.read_by_async;
      return;
    }
    if (global != 0)
      std::memcpy(here, reinterpret_cast<const void*>(global), 16);
    else
      std::memset(here, 0, 16);  // outside the tensor: zeros
    p.written_by_copy = 0, p.valid = true, p.operand = copy.operand, p.first_row = copy.at[2];
  });
  if (copy.is_store) {
    --stores_pending_[copy.thread];
    fibers_.notify(store_done_);
    return;
  }
  auto& b = live(copy.barrier);
  b.bytes -= bytes;  // may be below zero for a while: the bytes may come before they are announced
  finish_phase_if_due(b);
}

// ---- shared memory by hand ----

void HopperBlock::write(int thread, int offset, const void* bytes, int count) {
  auto& p = piece(kBase + offset);
  if (p.read_by_async != 0) fail("thread ", thread, " writes to a tile in use");
  if (p.written_by_copy != 0) fail("thread ", thread, " writes where a copy is under way");
  std::memcpy(&shared_[offset], bytes, count);
  p.dirty = thread;
  written_[thread].push_back(kBase + static_cast<uint32_t>(offset));
  p.valid = true;
  if (count == 4) p.operand = Operand::output;
}

void HopperBlock::async_fence(int thread) {
  for (const auto address : written_[thread])
    if (auto& p = piece(address); p.dirty == thread) p.dirty = -1;
  written_[thread].clear();
}

// ---- what happens by itself ----

size_t HopperBlock::pending_events() {
  size_t count = copies_.size();
  for (const auto& warp : warps_) count += !warp.products.empty() && warp.products.front().registered == lanes();
  return count;
}

void HopperBlock::run_event(size_t index) {
  if (index < copies_.size()) {
    const Copy copy = copies_[index];
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(index));
    return run_copy(copy);
  }
  index -= copies_.size();
  for (size_t i = 0; i < warps_.size(); ++i) {
    if (warps_[i].products.empty() || warps_[i].products.front().registered != lanes()) continue;
    if (index-- == 0) return run_product(static_cast<int>(i));
  }
}

}  // namespace ltxv::test
