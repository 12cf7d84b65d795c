#include "media/video_writer.h"

#include "media/encoded_stream.h"
#include "media/encoders.h"
#include "media/ffmpeg_log.h"
#include "media/frame_rate.h"
#include "media/frame_sink.h"
#include "media/pixels.h"

namespace ltxv::media {
namespace {

constexpr int64_t kMaxSide = 16384;
constexpr size_t kMaxMetadataBytes = 1 << 20;

AVRational exact_rate(double frames_per_second) {
  LTXV_CHECK(frames_per_second >= 0.001 && frames_per_second <= 1000, "frames per second is ", frames_per_second,
             ", 0.001 to 1000 are allowed");
  // Half a thousandth catches 23.976, 29.97, … and reaches no other rate of three decimals' worth.
  if (const auto rate = ntsc_rate(frames_per_second, 5e-4)) return *rate;
  // MPEG-4 keeps its clock in 16 bits.
  return av_d2q(frames_per_second, 65535);
}

class VideoSink : public FrameSink {
 public:
  explicit VideoSink(const SinkRequest& request)
      : maker_(request.width, request.height, encoder_pixel_format(request.encoder)),
        stream_(request, maker_.frame_width(), maker_.frame_height(), av_inv_q(request.rate)) {}

  void write(const uint8_t* rgb24, int64_t stride_bytes) override {
    stream_.send(*maker_.make(rgb24, stride_bytes), next_timestamp_++);
  }

  void finish() override {
    stream_.finish();
    stream_.file().commit();
  }

 private:
  FrameMaker maker_;
  EncodedStream stream_;
  int64_t next_timestamp_ = 0;
};

std::unique_ptr<FrameSink> make_sink(const SinkRequest& request) {
  switch (request.container) {
    case Container::gif:
      return make_gif_sink(request);
    case Container::png_sequence:
      return make_png_sequence_sink(request);
    case Container::png_sheet:
      return make_png_sheet_sink(request);
    default:
      return make_video_sink(request);
  }
}

/// The rules every kind of file shares: order of calls, counts, and that an error leaves nothing.
class CheckedWriter : public VideoWriter {
 public:
  explicit CheckedWriter(const SinkRequest& request)
      : path_(request.path),
        encoder_(request.encoder),
        row_bytes_(int64_t{3} * request.width),
        expected_(request.options.frame_count),
        sink_(make_sink(request)) {}

  ~CheckedWriter() override {
    const QuietScope quiet;
    sink_.reset();
  }

  void write(const uint8_t* rgb24, int64_t stride_bytes) override {
    require_open();
    LTXV_CHECK(rgb24 != nullptr && stride_bytes >= row_bytes_, path_, ": frame stride is ", stride_bytes,
               " bytes, at least ", row_bytes_, " are needed");
    LTXV_CHECK(expected_ == 0 || written_ < expected_, path_, ": more frames than the ", expected_, " announced");
    guarded([&] { sink_->write(rgb24, stride_bytes); });
    ++written_;
  }

  void finish() override {
    require_open();
    guarded([&] {
      LTXV_CHECK(written_ > 0, path_, ": no frame was written");
      LTXV_CHECK(expected_ == 0 || written_ == expected_, path_, ": ", written_, " frames were written, ", expected_,
                 " were announced");
      sink_->finish();
      sink_.reset();
    });
  }

  const std::string& encoder_name() const override { return encoder_; }

 private:
  void require_open() const { LTXV_CHECK(sink_ != nullptr, path_, ": the writer has finished or failed"); }

  template <class Step>
  void guarded(Step step) {
    const QuietScope quiet;
    try {
      step();
    } catch (...) {
      sink_.reset();
      throw;
    }
  }

  std::string path_;
  std::string encoder_;
  int64_t row_bytes_;
  int64_t expected_;
  int64_t written_ = 0;
  std::unique_ptr<FrameSink> sink_;
};

}  // namespace

std::unique_ptr<FrameSink> make_video_sink(const SinkRequest& request) { return std::make_unique<VideoSink>(request); }

std::unique_ptr<VideoWriter> VideoWriter::open(const std::string& path, int64_t width, int64_t height,
                                               const WriteOptions& options) {
  const QuietScope quiet;
  check_output_folder(path);
  const Container container = container_of(path);
  LTXV_CHECK(width >= 1 && width <= kMaxSide && height >= 1 && height <= kMaxSide, "frame size ", width, " x ", height,
             " is out of range, 1 to ", kMaxSide, " pixels a side are allowed");
  LTXV_CHECK(options.quality >= kLossless && options.quality <= 51, "quality is ", options.quality,
             ", allowed are 1 (best) to 51, 0 for the default and -1 for lossless");
  LTXV_CHECK(options.thread_count >= 1 && options.thread_count <= 64, "encoder thread count is ", options.thread_count,
             ", 1 to 64 are allowed");
  LTXV_CHECK(options.frame_count >= 0, "frame count is ", options.frame_count, ", 0 (unknown) or more is needed");
  for (const std::string* field : {&options.metadata_json, &options.title}) {
    LTXV_CHECK(field->size() <= kMaxMetadataBytes, "metadata of ", field->size(), " bytes, at most ", kMaxMetadataBytes,
               " are allowed");
    LTXV_CHECK(field->find('\0') == std::string::npos, "metadata holds a zero byte");
  }
  const Fidelity fidelity = options.quality == kLossless ? Fidelity::lossless : Fidelity::lossy;
  SinkRequest request{path,
                      container,
                      static_cast<int>(width),
                      static_cast<int>(height),
                      exact_rate(options.frames_per_second),
                      choose_encoder(container, fidelity, options.encoder),
                      options};
  if (fidelity == Fidelity::lossless) request.options.quality = 0;
  return std::make_unique<CheckedWriter>(request);
}

}  // namespace ltxv::media
