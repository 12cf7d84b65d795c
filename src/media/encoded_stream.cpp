#include "media/encoded_stream.h"

#include <cstdio>

#include "media/encoders.h"
#include "media/ffmpeg_log.h"
#include "media/pixels.h"

namespace ltxv::media {
namespace {

constexpr int kIoBufferBytes = 1 << 16;

const char* muxer_name(Container container) {
  switch (container) {
    case Container::mp4:
      return "mp4";
    case Container::mkv:
      return "matroska";
    case Container::webm:
      return "webm";
    case Container::gif:
      return "gif";
    default:
      throw InternalError(text("no muxer for ", container_name(container)));
  }
}

}  // namespace

int EncodedStream::write_bytes(void* self, AvioWriteBytes bytes, int count) {
  auto& stream = *static_cast<EncodedStream*>(self);
  if (!stream.file_.try_write(bytes, static_cast<size_t>(count), stream.position_)) {
    return AVERROR(stream.file_.error_number());
  }
  stream.position_ += count;
  return count;
}

int64_t EncodedStream::seek(void* self, int64_t offset, int whence) {
  auto& stream = *static_cast<EncodedStream*>(self);
  switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
      return stream.file_.size();
    case SEEK_SET:
      break;
    case SEEK_CUR:
      offset += stream.position_;
      break;
    case SEEK_END:
      offset += stream.file_.size();
      break;
    default:
      return AVERROR(EINVAL);
  }
  if (offset < 0) return AVERROR(EINVAL);
  return stream.position_ = offset;
}

EncodedStream::EncodedStream(const SinkRequest& request, int width, int height, AVRational time_base)
    : file_(request.path) {
  // Everything refused up to here and in open_encoder leaves no file: file_'s destructor removes it.
  const char* format = muxer_name(request.container);
  LTXV_REQUIRE(Unsupported, av_guess_format(format, nullptr, nullptr) != nullptr, "this FFmpeg cannot write ", format);
  AVFormatContext* muxer = nullptr;
  // The MP4 muxer reads its own file back by this address to move the index to the front; "file:" because a path may
  // hold ':'.
  const std::string address = "file:" + file_.hidden_path();
  av_check(avformat_alloc_output_context2(&muxer, nullptr, format, address.c_str()), request.path,
           "opening the container");
  muxer_.reset(muxer);

  auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBufferBytes));
  LTXV_REQUIRE(OutOfMemory, buffer != nullptr, "out of memory for an output buffer");
  io_.reset(avio_alloc_context(buffer, kIoBufferBytes, 1, this, nullptr, write_bytes, seek));
  if (!io_) {
    av_free(buffer);
    throw OutOfMemory("out of memory for an output buffer");
  }
  muxer_->pb = io_.get();
  // Same frames, same bytes: no date, no random identifiers, no version text.
  muxer_->flags |= AVFMT_FLAG_BITEXACT | AVFMT_FLAG_CUSTOM_IO;
  if (!request.options.title.empty()) av_dict_set(&muxer_->metadata, "title", request.options.title.c_str(), 0);
  if (!request.options.metadata_json.empty()) {
    av_dict_set(&muxer_->metadata, "comment", request.options.metadata_json.c_str(), 0);
  }

  open_encoder(request, width, height, time_base);
  stream_ = avformat_new_stream(muxer_.get(), nullptr);
  LTXV_REQUIRE(OutOfMemory, stream_ != nullptr, "out of memory for a video stream");
  stream_->time_base = time_base;
  stream_->avg_frame_rate = request.rate;
  check(avcodec_parameters_from_context(stream_->codecpar, encoder_.get()), "opening the container");
  packet_ = own<PacketPtr>(av_packet_alloc(), "a packet");

  Dictionary options;
  if (request.container == Container::mp4) options.set("movflags", "+faststart");
  check(avformat_write_header(muxer_.get(), options.address()), "writing the header");
  trailer_due_ = true;
}

EncodedStream::~EncodedStream() {
  // FFmpeg's GIF muxer frees the frame it holds back only here; the others must not spend time on a file that is going.
  const bool gif = muxer_ && muxer_->oformat->video_codec == AV_CODEC_ID_GIF;
  if (trailer_due_ && gif) av_write_trailer(muxer_.get());
}

void EncodedStream::open_encoder(const SinkRequest& request, int width, int height, AVRational time_base) {
  const AVCodec* codec = avcodec_find_encoder_by_name(request.encoder.c_str());
  LTXV_ASSERT(codec != nullptr, "encoder ", request.encoder, " was chosen but is not there");
  encoder_ = own<CodecPtr>(avcodec_alloc_context3(codec), "an encoder");
  AVCodecContext& context = *encoder_;
  context.log_level_offset = kSilentLogOffset;
  context.width = width;
  context.height = height;
  context.pix_fmt = encoder_pixel_format(request.encoder);
  context.time_base = time_base;
  context.framerate = request.rate;
  context.sample_aspect_ratio = {1, 1};
  context.thread_count = request.options.thread_count;
  context.flags |= AV_CODEC_FLAG_BITEXACT;
  if ((muxer_->oformat->flags & AVFMT_GLOBALHEADER) != 0) context.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  tag_colours(context, context.pix_fmt);
  Dictionary options;
  configure_encoder(context, request.encoder, request.options.quality, options);
  const int code = avcodec_open2(&context, codec, options.address());
  LTXV_REQUIRE(Unsupported, code >= 0, request.path, ": encoder ", request.encoder, " refuses ", width, " x ", height,
               " at ", request.rate.num, "/", request.rate.den, " frames a second: ", av_message(code));
}

void EncodedStream::check(int code, const char* what) {
  // The system's reason first: muxers report a failed write late, as something else, or not at all.
  LTXV_REQUIRE(IoError, file_.error_number() == 0, file_.target(), ": ", system_message(file_.error_number()));
  av_check(code, file_.target(), what);
}

void EncodedStream::send(AVFrame& frame, int64_t timestamp) {
  frame.pts = timestamp;
  check(avcodec_send_frame(encoder_.get(), &frame), "encoding");
  drain("encoding");
}

void EncodedStream::drain(const char* what) {
  for (;;) {
    const int code = avcodec_receive_packet(encoder_.get(), packet_.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    check(code, what);
    packet_->stream_index = stream_->index;
    // One tick of a constant-rate stream; the GIF muxer, whose ticks are not frames, takes its own from the next
    // timestamp.
    if (packet_->duration == 0 && muxer_->oformat->video_codec != AV_CODEC_ID_GIF) packet_->duration = 1;
    av_packet_rescale_ts(packet_.get(), encoder_->time_base, stream_->time_base);
    check(av_interleaved_write_frame(muxer_.get(), packet_.get()), "writing");
  }
}

void EncodedStream::finish() {
  check(avcodec_send_frame(encoder_.get(), nullptr), "encoding");
  drain("encoding");
  trailer_due_ = false;
  check(av_write_trailer(muxer_.get()), "completing the container");
  avio_flush(io_.get());
  check(io_->error, "completing the container");
}

}  // namespace ltxv::media
