#include "pipeline/frame_stream.h"

#include <algorithm>

#include "pipeline/media_io.h"

namespace ltxv {

FrameStream::FrameStream(const ResolvedRequest& resolved, const FrameSink* sink, FittedVideo kept)
    : resolved_(resolved), sink_(sink), kept_(std::move(kept)) {}

void FrameStream::take(const at::Tensor& computed) {
  const int64_t wanted = std::min(computed.size(2), resolved_.asked.frames - count_);
  if (wanted <= 0) return;
  auto frames = resize_to_padded(computed.narrow(2, 0, wanted), resolved_);
  if (resolved_.request.composite) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(2, count_, wanted); };
    const FittedVideo kept = kept_.frames.defined() ? FittedVideo{part(kept_.frames), part(kept_.mask)} : read_kept_pixels(files_, resolved_, {count_, wanted});
    frames = composite(frames, kept.frames, kept.mask);
  }
  frames = crop_picture(frames, resolved_);
  count_ += wanted;
  if (sink_) {
    sink_->write(frames);
  } else {
    collected_.push_back(frames);
  }
}

at::Tensor FrameStream::collected() { return collected_.size() == 1 ? collected_.front() : at::cat(collected_, 2); }

}  // namespace ltxv
