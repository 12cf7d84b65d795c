#pragma once
// The way of decoded frames to whoever asked for them.
#include <vector>

#include "pipeline/engine.h"
#include "pipeline/masked_media.h"

namespace ltxv {

/// Hands frames on as they come: at the result's size, with what a run keeps of its input, and no more of them than asked for.
class FrameStream {
 public:
  /// `resolved`: of the last pass. `sink` null: frames are collected. `kept`: what compositing copies over the whole result, where it
  /// was read already; else it is read piece by piece.
  FrameStream(const ResolvedRequest& resolved, const FrameSink* sink, FittedVideo kept = {});
  /// The next frames as they were computed. Shapes: f32 [1,3,t,H,W], of the padded grid.
  void take(const at::Tensor& computed);
  /// Everything that was collected.
  at::Tensor collected();

 private:
  const ResolvedRequest& resolved_;
  const FrameSink* sink_;
  FittedVideo kept_;
  MediaFiles files_;
  std::vector<at::Tensor> collected_;
  int64_t count_ = 0;
};

}  // namespace ltxv
