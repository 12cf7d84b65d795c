// GIF files. The palette is chosen from all frames, so frames wait in memory until finish(); a clip above
// kMaxWaitingBytes gets the palette of what came until then and streams from there.
#include <cstring>
#include <deque>
#include <optional>
#include <vector>

#include "media/encoded_stream.h"
#include "media/file_structure.h"
#include "media/frame_sink.h"
#include "media/gif_palette.h"
#include "media/pixels.h"

namespace ltxv::media {
namespace {

constexpr size_t kMaxWaitingBytes = size_t{512} << 20;
constexpr AVRational kGifTick = {1, 100};
// Viewers show a delay of one tick as ten.
constexpr int64_t kMinDelayTicks = 2;

class GifSink : public FrameSink {
 public:
  explicit GifSink(const SinkRequest& request)
      : request_(request), stream_(request, request.width, request.height, kGifTick) {}

  void write(const uint8_t* rgb24, int64_t stride_bytes) override {
    const int64_t timestamp = av_rescale_q(count_++, av_inv_q(request_.rate), kGifTick);
    if (timestamp < next_timestamp_) return;
    next_timestamp_ = timestamp + kMinDelayTicks;
    const size_t row_bytes = static_cast<size_t>(request_.width) * 3;
    Waiting waiting{timestamp, std::vector<uint8_t>(row_bytes * static_cast<size_t>(request_.height))};
    for (int y = 0; y < request_.height; ++y) {
      std::memcpy(waiting.rgb.data() + static_cast<size_t>(y) * row_bytes, rgb24 + y * stride_bytes, row_bytes);
    }
    if (palette_) return encode(waiting);
    histogram_->add(waiting.rgb.data(), int64_t{request_.width} * request_.height);
    waiting_bytes_ += waiting.rgb.size();
    waiting_.push_back(std::move(waiting));
    if (waiting_bytes_ > kMaxWaitingBytes) encode_waiting();
  }

  void finish() override {
    if (!palette_) encode_waiting();
    stream_.finish();
    if (!request_.options.metadata_json.empty()) append_gif_comment(stream_.file(), request_.options.metadata_json);
    stream_.file().commit();
  }

 private:
  struct Waiting {
    int64_t timestamp;
    std::vector<uint8_t> rgb;
  };

  void encode_waiting() {
    palette_.emplace(*histogram_);
    histogram_.reset();
    for (; !waiting_.empty(); waiting_.pop_front()) encode(waiting_.front());
  }

  void encode(const Waiting& waiting) {
    FramePtr frame = own<FramePtr>(av_frame_alloc(), "a video frame");
    frame->width = request_.width;
    frame->height = request_.height;
    frame->format = AV_PIX_FMT_PAL8;
    av_check(av_frame_get_buffer(frame.get(), 0), request_.path, "encoding");
    for (int y = 0; y < request_.height; ++y) {
      palette_->map_row(waiting.rgb.data() + int64_t{y} * request_.width * 3, request_.width, y,
                        frame->data[0] + int64_t{y} * frame->linesize[0]);
    }
    std::memcpy(frame->data[1], palette_->argb().data(), sizeof palette_->argb());
    stream_.send(*frame, waiting.timestamp);
  }

  SinkRequest request_;
  EncodedStream stream_;
  std::optional<ColourHistogram> histogram_{std::in_place};
  std::optional<GifPalette> palette_;
  std::deque<Waiting> waiting_;
  size_t waiting_bytes_ = 0;
  int64_t count_ = 0;
  int64_t next_timestamp_ = 0;
};

}  // namespace

std::unique_ptr<FrameSink> make_gif_sink(const SinkRequest& request) { return std::make_unique<GifSink>(request); }

}  // namespace ltxv::media
