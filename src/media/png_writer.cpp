// PNG files: a numbered sequence, or one contact sheet.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "media/encoders.h"
#include "media/ffmpeg_log.h"
#include "media/file_structure.h"
#include "media/frame_sink.h"
#include "media/output_file.h"
#include "media/pixels.h"

namespace ltxv::media {
namespace {

constexpr int64_t kSheetFrames = 16;
constexpr int kSheetGapPx = 4;
constexpr uint8_t kSheetBackground = 24;  // dark grey: tells the gap from a black frame

/// Encodes whole PNG files of one size, with the texts of the request in each.
class PngEncoder {
 public:
  PngEncoder(const SinkRequest& request, int width, int height)
      : path_(request.path),
        title_(request.options.title),
        comment_(request.options.metadata_json),
        maker_(width, height, AV_PIX_FMT_RGB24) {
    const AVCodec* codec = avcodec_find_encoder_by_name(request.encoder.c_str());
    encoder_ = own<CodecPtr>(avcodec_alloc_context3(codec), "an encoder");
    encoder_->log_level_offset = kSilentLogOffset;
    encoder_->width = width;
    encoder_->height = height;
    encoder_->pix_fmt = AV_PIX_FMT_RGB24;
    encoder_->sample_aspect_ratio = {1, 1};
    encoder_->time_base = {1, 25};  // required, without meaning here
    encoder_->thread_count = 1;     // with more, a frame comes out only after the next ones went in
    encoder_->flags |= AV_CODEC_FLAG_BITEXACT;
    tag_colours(*encoder_, AV_PIX_FMT_RGB24);
    Dictionary options;
    configure_encoder(*encoder_, request.encoder, 0, options);
    av_check(avcodec_open2(encoder_.get(), codec, options.address()), path_, "opening the png encoder");
    packet_ = own<PacketPtr>(av_packet_alloc(), "a packet");
  }

  std::vector<uint8_t> encode(const uint8_t* rgb, int64_t stride_bytes) {
    const FramePtr frame = maker_.make(rgb, stride_bytes);
    frame->pts = next_++;
    av_check(avcodec_send_frame(encoder_.get(), frame.get()), path_, "encoding");
    av_check(avcodec_receive_packet(encoder_.get(), packet_.get()), path_, "encoding");
    std::vector<uint8_t> png(packet_->data, packet_->data + packet_->size);
    av_packet_unref(packet_.get());
    if (!comment_.empty()) insert_png_text(png, "Comment", comment_);
    if (!title_.empty()) insert_png_text(png, "Title", title_);
    return png;
  }

 private:
  std::string path_, title_, comment_;
  FrameMaker maker_;
  CodecPtr encoder_;
  PacketPtr packet_;
  int64_t next_ = 0;
};

class PngSequenceSink : public FrameSink {
 public:
  explicit PngSequenceSink(const SinkRequest& request)
      : pattern_(*number_pattern(request.path)),
        encoder_(request, request.width, request.height),
        folder_(request.path) {}

  void write(const uint8_t* rgb24, int64_t stride_bytes) override {
    folder_.add(pattern_.path(next_++), encoder_.encode(rgb24, stride_bytes));
  }

  void finish() override { folder_.commit(); }

 private:
  NumberPattern pattern_;
  PngEncoder encoder_;
  OutputFolder folder_;
  int64_t next_ = 0;
};

/// Which of `count` frames a sheet shows: position `slot` of min(count, 16).
int64_t sheet_frame(int64_t slot, int64_t count) {
  if (count <= kSheetFrames) return slot;
  constexpr int64_t kSteps = kSheetFrames - 1;
  return (2 * slot * (count - 1) + kSteps) / (2 * kSteps);  // rounded; slot 0 -> 0, slot 15 -> count - 1
}

class PngSheetSink : public FrameSink {
 public:
  explicit PngSheetSink(const SinkRequest& request) : request_(request), file_(request.path) {}

  void write(const uint8_t* rgb24, int64_t stride_bytes) override {
    const int64_t frame = count_++;
    const int64_t announced = request_.options.frame_count;
    if (announced > 0 && frame != sheet_frame(static_cast<int64_t>(kept_.size()), announced)) return;
    const size_t row_bytes = static_cast<size_t>(request_.width) * 3;
    std::vector<uint8_t> copy(row_bytes * static_cast<size_t>(request_.height));
    for (int y = 0; y < request_.height; ++y) {
      std::memcpy(copy.data() + static_cast<size_t>(y) * row_bytes, rgb24 + y * stride_bytes, row_bytes);
    }
    kept_.push_back(std::move(copy));
  }

  void finish() override {
    const int64_t shown = std::min(count_, kSheetFrames);
    const bool all_kept = request_.options.frame_count == 0;
    const auto columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(shown))));
    const int64_t rows = (shown + columns - 1) / columns;
    const int64_t width = columns * (request_.width + kSheetGapPx) - kSheetGapPx;
    const int64_t height = rows * (request_.height + kSheetGapPx) - kSheetGapPx;
    std::vector<uint8_t> sheet(static_cast<size_t>(width * height * 3), kSheetBackground);
    for (int64_t slot = 0; slot < shown; ++slot) {
      const std::vector<uint8_t>& frame = kept_[static_cast<size_t>(all_kept ? sheet_frame(slot, count_) : slot)];
      const int64_t left = slot % columns * (request_.width + kSheetGapPx);
      const int64_t top = slot / columns * (request_.height + kSheetGapPx);
      const int64_t row_bytes = int64_t{3} * request_.width;
      for (int64_t y = 0; y < request_.height; ++y) {
        std::memcpy(sheet.data() + ((top + y) * width + left) * 3, frame.data() + y * row_bytes,
                    static_cast<size_t>(row_bytes));
      }
    }
    PngEncoder encoder(request_, static_cast<int>(width), static_cast<int>(height));
    file_.append(encoder.encode(sheet.data(), width * 3));
    file_.commit();
  }

 private:
  SinkRequest request_;
  OutputFile file_;
  std::vector<std::vector<uint8_t>> kept_;
  int64_t count_ = 0;
};

}  // namespace

std::unique_ptr<FrameSink> make_png_sequence_sink(const SinkRequest& request) {
  return std::make_unique<PngSequenceSink>(request);
}

std::unique_ptr<FrameSink> make_png_sheet_sink(const SinkRequest& request) {
  return std::make_unique<PngSheetSink>(request);
}

}  // namespace ltxv::media
