#pragma once
// A block's shared memory with a memory of its own: who wrote and read each word, and what orders that. Two accesses by different
// threads, one of them a write, must be parted by a block sync, or by a warp sync if both are of one warp.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace ltxv::test {

/// When an access happened: block syncs and warp syncs before it.
struct Moment {
  int32_t epoch, fence;
};

class SharedMemory {
 public:
  static constexpr int32_t kWholeWarp = -2;  ///< a read that hands data to all lanes

  explicit SharedMemory(uint32_t bytes) : bytes_(bytes, 0xff), words_((bytes + 3) / 4) {}

  /// Each returns "" or what is wrong. `thread` may be kWholeWarp for reads.
  std::string read(uint32_t offset, uint32_t size, int32_t warp, int32_t thread, Moment now, void* to) {
    if (auto problem = check_range(offset, size); !problem.empty()) return problem;
    for (uint32_t w = offset / 4; w < (offset + size + 3) / 4; ++w) {
      Word& word = words_[w];
      if (word.pending) return at(w) + "read while an asynchronous copy to it is under way";
      if (word.writer == kNobody) return at(w) + "read but never written";
      if (unordered(word.writer, word.write_warp, word.written, thread, warp, now)) return at(w) + "read races with a write";
      const bool together = word.read.epoch == now.epoch && word.readers != 0;
      if (!together) word.readers = 0, word.reader = kNobody;
      // A later warp sync makes earlier reads of this warp harmless to it.
      const bool same = together && word.read.fence == now.fence;
      word.reader = !same || word.reader == kNobody || word.reader == thread ? thread : kWholeWarp;
      word.readers |= 1u << warp;
      word.read = now;
    }
    std::memcpy(to, bytes_.data() + offset, size);
    return "";
  }

  std::string write(uint32_t offset, uint32_t size, int32_t warp, int32_t thread, Moment now, const void* from) {
    if (auto problem = claim(offset, size, warp, thread, now); !problem.empty()) return problem;
    std::memcpy(bytes_.data() + offset, from, size);
    return "";
  }

  /// A copy begins: from now to land() nobody may touch the bytes.
  std::string begin_copy(uint32_t offset, uint32_t size, int32_t warp, int32_t thread, Moment now) {
    if (auto problem = claim(offset, size, warp, thread, now); !problem.empty()) return problem;
    std::memset(bytes_.data() + offset, 0xff, size);
    for (uint32_t w = offset / 4; w < (offset + size) / 4; ++w) words_[w].pending = true;
    return "";
  }
  /// Its thread has waited for it: the bytes are there, for that thread.
  void land(uint32_t offset, uint32_t size, Moment now, const void* from) {
    std::memcpy(bytes_.data() + offset, from, size);
    for (uint32_t w = offset / 4; w < (offset + size) / 4; ++w) words_[w].pending = false, words_[w].written = now;
  }

 private:
  static constexpr int32_t kNobody = -1;
  struct Word {
    int32_t writer = kNobody, write_warp = 0, reader = kNobody;
    Moment written{}, read{};
    uint32_t readers = 0;  // warps, in the epoch of `read`
    bool pending = false;
  };

  static bool unordered(int32_t a, int32_t a_warp, Moment a_time, int32_t b, int32_t b_warp, Moment b_time) {
    if (a == b && a != kWholeWarp) return false;
    if (a_time.epoch != b_time.epoch) return false;
    return a_warp != b_warp || a_time.fence == b_time.fence;
  }
  static std::string at(uint32_t word) { return "shared memory at " + std::to_string(word * 4) + ": "; }
  std::string check_range(uint32_t offset, uint32_t size) const {
    if (size > 1 && offset % size != 0) return at(offset / 4) + "misaligned access of " + std::to_string(size) + " bytes";
    if (offset + size > bytes_.size()) return at(offset / 4) + "outside of " + std::to_string(bytes_.size()) + " bytes";
    return "";
  }
  std::string claim(uint32_t offset, uint32_t size, int32_t warp, int32_t thread, Moment now) {
    if (auto problem = check_range(offset, size); !problem.empty()) return problem;
    for (uint32_t w = offset / 4; w < (offset + size + 3) / 4; ++w) {
      Word& word = words_[w];
      if (word.pending) return at(w) + "written while an asynchronous copy to it is under way";
      if (word.writer != kNobody && unordered(word.writer, word.write_warp, word.written, thread, warp, now))
        return at(w) + "two writes race";
      if (word.readers != 0 && word.read.epoch == now.epoch) {
        if ((word.readers & ~(1u << warp)) != 0) return at(w) + "write races with another warp's read";
        if (word.read.fence == now.fence && word.reader != thread) return at(w) + "write races with another lane's read";
      }
      word.writer = thread, word.write_warp = warp, word.written = now;
      word.readers = 0, word.reader = kNobody;
    }
    return "";
  }

  std::vector<uint8_t> bytes_;
  std::vector<Word> words_;
};

}  // namespace ltxv::test
