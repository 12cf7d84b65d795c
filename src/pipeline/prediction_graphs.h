#pragma once
// Predictions of one transformer, recorded as CUDA graphs by shape: one launch in place of a thousand. What changes from call to call
// is copied to where the recording reads it.
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/run_context.h"
#include "cuda_services.h"
#include "transformer/transformer.h"

namespace ltxv {

class PredictionGraphs {
 public:
  using MakeRecording = std::function<std::unique_ptr<ops::RecordedWork>()>;
  /// `make`: what records; the CUDA plug-in by default.
  explicit PredictionGraphs(MakeRecording make = nullptr) : make_(std::move(make)) {}

  /// The right to use them, of one run at a time; a run that does not get it computes without.
  class Lease {
   public:
    explicit operator bool() const { return lock_.owns_lock(); }

   private:
    friend class PredictionGraphs;
    std::unique_lock<std::mutex> lock_;
    int64_t run_ = 0;
  };
  /// Tables and prompts of one lease stay the same. Keep this object alive as long as the lease.
  Lease lease();

  /// As Transformer::forward; the result is overwritten by the next call. The first call of a shape computes as usual, the second
  /// records, later ones replay. A recording that fails is logged, and that shape is computed as usual from then on.
  at::Tensor forward(const Transformer& transformer, const Lease& lease, const StepInputs& in, const RunContext& run);

 private:
  /// Where one recording reads and writes.
  struct Entry {
    std::vector<int64_t> key;
    int64_t calls = 0, last_used = 0, filled_for_run = -1;
    bool failed = false;
    at::Tensor tokens, out;
    NoiseLevels levels;
    RopeTable rope;
    std::vector<PromptContext> prompts;
    std::unique_ptr<ops::RecordedWork> work;
  };
  Entry& entry_for(const StepInputs& in);
  void record(Entry& entry, const Transformer& transformer, const StepInputs& in, const RunContext& run);
  static void fill(Entry& entry, const StepInputs& in, int64_t run);

  MakeRecording make_;
  std::mutex mutex_;
  int64_t runs_ = 0, clock_ = 0;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace ltxv
