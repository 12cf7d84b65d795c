#pragma once
// What a block of threads shares on a Hopper GPU: shared memory, its barriers, the copy engine and the matrix units,
// with the checks that hardware leaves out. Copies and products are asynchronous: they happen at a time the scheduler
// draws between their start and the wait for them, and until then their bytes are marked as being written or read.
#include <array>
#include <deque>
#include <map>

#include "attention/sm90/body.h"
#include "attention/sm90/tensor_map.h"
#include "cuda/numbers.h"
#include "kernels/sm90/fibers.h"

namespace ltxv::test {

/// What a matrix descriptor says, read as the PTX ISA defines its bits.
struct DecodedDescriptor {
  uint32_t start, leading_bytes, stride_bytes, base_offset, swizzle;
};
DecodedDescriptor decode_descriptor(uint64_t descriptor);

/// Shared memory address of element (index, k) of an operand: `index` is its row (A) or column (B) in the product, k
/// the position in the sum. Source: PTX ISA, "Strides" and "Canonical layouts" of wgmma, 128-byte swizzle, elements of 2
/// bytes; K-major ones of one byte too.
uint32_t k_major_address(const DecodedDescriptor& d, int index, int k, int element_bytes = 2);
uint32_t mn_major_address(const DecodedDescriptor& d, int index, int k);

/// The 128-byte swizzle as a permutation of addresses: bits 4-6 are XORed with bits 7-9.
constexpr uint32_t swizzle_address(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

inline float from_bf16(uint16_t bits) { return ops::gpu::bf16_low(bits); }
inline uint16_t to_bf16(float value) { return static_cast<uint16_t>(ops::gpu::bf16_bits(value)); }

/// What a product multiplies: bf16 in steps of 16; int8 with sums of 32 bits, or e4m3, in steps of 32.
enum class Product8 { none, int8, e4m3 };

/// `full` computes; `checks_only` runs one lane a warp and skips the arithmetic, for many interleavings.
enum class Detail { full, checks_only };

class HopperBlock {
 public:
  struct Setup {
    std::map<ops::gpu::sm90::Operand, ops::gpu::sm90::TensorMap> maps;
    int shared_bytes = 0, warps = 0;
    uint64_t seed = 0;
    Order order = Order::uniform;
    Detail detail = Detail::full;
    double pass_chance = 0.02;
  };
  explicit HopperBlock(const Setup& setup);

  /// Adds the threads of all warps and runs them; then checks that nothing is left over. Throws what is wrong.
  void run(const std::function<void(int thread)>& body);

  int lanes() const { return setup_.detail == Detail::full ? ops::gpu::kWarpSize : 1; }
  uint32_t base() const { return kBase; }
  Fibers& fibers() { return fibers_; }

  // What the machine's instructions do; `thread` is the number in the block.
  void init_barrier(int barrier, int count);
  void arrive(int barrier, int bytes);
  void wait(int barrier, uint32_t phase);
  void named(int barrier, int threads, bool wait);
  void warp_sync(int thread);
  float quad(int thread, float value, bool sum);
  void load(ops::gpu::sm90::Operand operand, int offset, int barrier, std::array<int, 4> at);
  void store(int thread, ops::gpu::sm90::Operand operand, int offset, std::array<int, 4> at);
  void store_wait(int thread);
  void write(int thread, int offset, const void* bytes, int count);
  void async_fence(int thread);
  void wgmma_fence(int thread);
  void wgmma_commit(int thread);
  void wgmma_wait(int thread, int pending);
  /// a == nullptr: the left operand is the K-major tile of `a_descriptor`, and b is K-major; else b is MN-major.
  /// Of eight-bit elements both operands are K-major, and sums of int8 are the bits of `d`.
  void wgmma(int thread, float* d, int columns, const uint32_t* a, uint64_t a_descriptor, uint64_t b, bool accumulate,
             Product8 eight = Product8::none);

  /// First row of every tile that wgmma read as right operand, by warp, in order; each tile once.
  const std::vector<int>& tiles_read(ops::gpu::sm90::Operand operand, int warp) { return tiles_read_[{operand, warp}]; }

  static constexpr uint32_t kBase = 3 * 1024;  // not zero, so that a forgotten base shows

 private:
  struct Barrier {  // an mbarrier
    int count = 0, left = 0, bytes = 0;
    uint32_t phase = 0;
    bool live = false;
    Condition changed;
  };
  struct Named {
    int arrived = 0, wanted = 0;
    uint64_t round = 0;
    Condition changed;
  };
  struct Quad {
    int arrived = 0;
    float value = 0, result = 0;
    uint64_t round = 0;
    Condition changed;
  };
  struct Piece {  // 16 bytes of shared memory
    int written_by_copy = 0, read_by_async = 0, dirty = -1;
    bool valid = false;
    ops::gpu::sm90::Operand operand{};
    int first_row = -1;
  };
  struct Product {
    int columns = 0, registered = 0;
    bool accumulate = false, shared_a = false;
    Product8 eight = Product8::none;
    uint64_t a = 0, b = 0;
    std::vector<const uint32_t*> a_registers;
    std::vector<float*> d;
    std::vector<uint32_t> pieces;
  };
  struct Accumulator {  // of one lane
    std::vector<float> values;
    int pending = 0;
  };
  struct Warp {
    std::deque<Product> products;                                // those not finished
    size_t finished = 0;                                         // products before products.front()
    std::map<std::pair<int, float*>, Accumulator> accumulators;  // by lane and registers
    std::vector<size_t> issued;                                  // by lane
    std::vector<std::vector<size_t>> groups;                     // by lane: products issued at each commit
    std::vector<bool> fenced;
    Condition changed;
  };
  struct Copy {
    bool is_store;
    int thread, barrier;
    const ops::gpu::sm90::TensorMap* map;
    ops::gpu::sm90::Operand operand;
    uint32_t offset;
    std::array<int, 4> at;
  };

  int warp_of(int thread) const { return thread / ops::gpu::kWarpSize; }
  int lane_of(int thread) const { return thread % ops::gpu::kWarpSize; }
  int weight() const { return ops::gpu::kWarpSize / lanes(); }
  Piece& piece(uint32_t address);
  Barrier& live(int barrier);
  void finish_phase_if_due(Barrier& barrier);
  void run_copy(Copy copy);
  void run_product(int warp);
  void multiply(int warp, const Product& product);
  void multiply_eight(int warp, const Product& product);
  size_t pending_events();
  void run_event(size_t index);
  void check_left_over();
  template <class Visit>
  void visit_box(const Copy& copy, Visit visit);

  Setup setup_;
  Fibers fibers_;
  std::vector<uint8_t> shared_;
  std::vector<Piece> pieces_;
  std::vector<Barrier> barriers_;
  std::map<int, Named> named_;
  std::vector<Warp> warps_;
  std::vector<Quad> quads_;
  std::vector<Named> warp_syncs_;
  std::vector<Copy> copies_;
  std::map<int, int> stores_pending_;
  std::map<int, std::vector<uint32_t>> written_;  // by thread, since its last fence
  Condition store_done_;
  std::map<std::pair<ops::gpu::sm90::Operand, int>, std::vector<int>> tiles_read_;
};

}  // namespace ltxv::test
