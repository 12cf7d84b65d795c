#include "media/file_frames.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "media/container.h"
#include "media/ffmpeg_log.h"
#include "media/frame_rate.h"

extern "C" {
#include <libavutil/display.h>
}

namespace ltxv::media {
namespace {

// Playlists (hls, dash, concat, sdp, image2, …) name other files and addresses; they and all rarities stay out.
constexpr char kFormats[] = "mov,matroska,webm,avi,gif,apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe";
constexpr char kFormatsText[] = "accepted are MP4/MOV, Matroska/WebM, AVI, GIF, PNG, JPEG, WebP and BMP";
constexpr int kIoBufferBytes = 1 << 16;
constexpr double kMaxFramesPerSecond = 1000;

}  // namespace

ByteSource::ByteSource(const InputFile& file) : file_(file) {
  auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBufferBytes));
  LTXV_REQUIRE(OutOfMemory, buffer != nullptr, "out of memory for an input buffer");
  io_.reset(avio_alloc_context(buffer, kIoBufferBytes, 0, this, read, nullptr, seek));
  if (!io_) {
    av_free(buffer);
    throw OutOfMemory("out of memory for an input buffer");
  }
}

int ByteSource::read(void* self, uint8_t* bytes, int count) {
  auto& source = *static_cast<ByteSource*>(self);
  const int64_t got = source.file_.try_read(bytes, count, source.position_);
  if (got < 0) return AVERROR(errno);
  if (got == 0) return AVERROR_EOF;
  source.position_ += got;
  return static_cast<int>(got);
}

int64_t ByteSource::seek(void* self, int64_t offset, int whence) {
  auto& source = *static_cast<ByteSource*>(self);
  switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
      return source.file_.size();
    case SEEK_SET:
      break;
    case SEEK_CUR:
      offset += source.position_;
      break;
    case SEEK_END:
      offset += source.file_.size();
      break;
    default:
      return AVERROR(EINVAL);
  }
  if (offset < 0) return AVERROR(EINVAL);
  return source.position_ = offset;
}

namespace {

/// Opens the container if its content is one of kFormats. Errors: IoError, Unsupported.
InputPtr open_demuxer(const InputFile& file, ByteSource& source) {
  InputFormat* format = nullptr;
  // No file name: a suffix must not decide.
  const int probed = av_probe_input_buffer2(source.io(), &format, "", nullptr, 0, 0);
  if (probed < 0 || format == nullptr) {
    throw Unsupported(text(file.path(), ": neither image nor video; ", kFormatsText));
  }
  bool accepted = false;
  const std::string names = text(",", format->name, ",");
  for (std::string_view rest = kFormats; !rest.empty();) {
    const size_t comma = rest.find(',');
    accepted = accepted || names.find(text(",", rest.substr(0, comma), ",")) != std::string::npos;
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
  }
  LTXV_REQUIRE(Unsupported, accepted, file.path(), ": content is ",
               format->long_name != nullptr ? format->long_name : format->name, ", which is not accepted; ",
               kFormatsText);
  AVFormatContext* context = avformat_alloc_context();
  LTXV_REQUIRE(OutOfMemory, context != nullptr, "out of memory for a container");
  context->pb = source.io();
  context->flags |= AVFMT_FLAG_CUSTOM_IO;
  Dictionary options;
  options.set("format_whitelist", kFormats);
  options.set("protocol_whitelist", "file");
  const int opened = avformat_open_input(&context, "", format, options.address());  // frees the context on failure
  av_check(opened, file.path(), "damaged or not readable");
  return InputPtr(context);
}

int find_video(const AVFormatContext& context) {
  for (unsigned i = 0; i < context.nb_streams; ++i) {
    const AVStream& stream = *context.streams[i];
    const bool picture_of_audio = (stream.disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
    if (stream.codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !picture_of_audio) return static_cast<int>(i);
  }
  return -1;
}

/// Looks into the streams, with the size limit in force for the trial decoding that this involves.
void find_stream_info(AVFormatContext& context, const InputFile& file, const ReadLimits& limits) {
  std::vector<Dictionary> options(context.nb_streams);
  std::vector<AVDictionary*> raw;
  for (Dictionary& dictionary : options) {
    dictionary.set("max_pixels", std::to_string(limits.max_pixels_per_frame));
    dictionary.set("threads", "1");
    raw.push_back(*dictionary.address());
  }
  const int code = avformat_find_stream_info(&context, raw.empty() ? nullptr : raw.data());
  for (size_t i = 0; i < options.size(); ++i) *options[i].address() = raw[i];
  av_check(code, file.path(), "damaged or not readable");
}

bool is_image(const AVFormatContext& context) { return std::strstr(context.iformat->name, "_pipe") != nullptr; }

CodecPtr open_decoder(const AVFormatContext& context, const AVStream& stream, const InputFile& file,
                      const ReadLimits& limits) {
  const AVCodec* codec = avcodec_find_decoder(stream.codecpar->codec_id);
  LTXV_REQUIRE(Unsupported, codec != nullptr, file.path(), ": this FFmpeg has no decoder for ",
               avcodec_get_name(stream.codecpar->codec_id));
  CodecPtr decoder = own<CodecPtr>(avcodec_alloc_context3(codec), "a decoder");
  av_check(avcodec_parameters_to_context(decoder.get(), stream.codecpar), file.path(), "damaged or not readable");
  decoder->log_level_offset = kSilentLogOffset;
  decoder->max_pixels = limits.max_pixels_per_frame;
  decoder->thread_count = 1;  // no hidden threads
  decoder->flags |= AV_CODEC_FLAG_BITEXACT;
  decoder->pkt_timebase = stream.time_base;
  // Broken streams of cameras are common and harmless for video; a single damaged image must not pass.
  if (is_image(context)) decoder->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
  av_check(avcodec_open2(decoder.get(), codec, nullptr), file.path(), "opening the decoder");
  return decoder;
}

const int32_t* stream_matrix(const AVStream& stream) {
#if LIBAVFORMAT_VERSION_MAJOR >= 61
  const AVPacketSideData* data = av_packet_side_data_get(
      stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  return data != nullptr && data->size >= 9 * sizeof(int32_t) ? reinterpret_cast<const int32_t*>(data->data) : nullptr;
#else
  return reinterpret_cast<const int32_t*>(av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr));
#endif
}

/// The EXIF orientation, 1 … 8, as the display matrix that undoes it; null for 1 and anything else.
const int32_t* exif_matrix(const AVFrame& frame) {
  constexpr int32_t kOne = 1 << 16;
  static constexpr int32_t kMatrices[9][9] = {
      {},
      {},
      {-kOne, 0, 0, 0, kOne, 0, 0, 0, 1 << 30},   // 2: mirrored
      {-kOne, 0, 0, 0, -kOne, 0, 0, 0, 1 << 30},  // 3: upside down
      {kOne, 0, 0, 0, -kOne, 0, 0, 0, 1 << 30},   // 4: mirrored upside down
      {0, kOne, 0, kOne, 0, 0, 0, 0, 1 << 30},    // 5: rows are columns
      {0, kOne, 0, -kOne, 0, 0, 0, 0, 1 << 30},   // 6: needs a quarter turn clockwise
      {0, -kOne, 0, -kOne, 0, 0, 0, 0, 1 << 30},  // 7
      {0, -kOne, 0, kOne, 0, 0, 0, 0, 1 << 30},   // 8: needs a quarter turn anticlockwise
  };
  const AVDictionaryEntry* entry = av_dict_get(frame.metadata, "Orientation", nullptr, 0);
  const int orientation = entry == nullptr ? 1 : std::atoi(entry->value);
  return orientation >= 2 && orientation <= 8 ? kMatrices[orientation] : nullptr;
}

const int32_t* matrix_of(const AVFrame& frame, const AVStream& stream) {
  const AVFrameSideData* data = av_frame_get_side_data(&frame, AV_FRAME_DATA_DISPLAYMATRIX);
  if (data != nullptr && static_cast<size_t>(data->size) >= 9 * sizeof(int32_t)) return reinterpret_cast<const int32_t*>(data->data);
  if (const int32_t* matrix = stream_matrix(stream)) return matrix;
  return exif_matrix(frame);
}

double mean_rate(const AVFormatContext& context, const AVStream& stream) {
  if (is_image(context)) return 0;  // FFmpeg says 25 for every picture
  for (const AVRational rate : {stream.avg_frame_rate, stream.r_frame_rate}) {
    const double value = rate.den == 0 ? 0 : av_q2d(rate);
    // Matroska keeps whole nanoseconds a frame: 60000/1001 comes back as 19001/317.
    if (value > 0 && value <= kMaxFramesPerSecond) return av_q2d(ntsc_rate(value, 1e-5).value_or(rate));
  }
  return 0;
}

void require_sound(const AVFrame& frame, const InputFile& file, int64_t number) {
  const bool sound = (frame.flags & AV_FRAME_FLAG_CORRUPT) == 0 && frame.decode_error_flags == 0;
  LTXV_REQUIRE(IoError, sound, file.path(), ": frame ", number, " is damaged");
}

}  // namespace

FileFrames::FileFrames(const std::string& path, const ReadLimits& limits) : file_(path), source_(file_), limits_(limits) {
  require_complete(file_, limits.max_pixels_per_frame);
  demuxer_ = open_demuxer(file_, source_);
  find_stream_info(*demuxer_, file_, limits);
  index_ = find_video(*demuxer_);
  LTXV_REQUIRE(Unsupported, index_ >= 0, path, ": holds no video and no picture");
  for (unsigned i = 0; i < demuxer_->nb_streams; ++i) {
    if (static_cast<int>(i) != index_) demuxer_->streams[i]->discard = AVDISCARD_ALL;
  }
  decoder_ = open_decoder(*demuxer_, stream(), file_, limits);
}

double FileFrames::rate() const { return mean_rate(*demuxer_, stream()); }

const int32_t* FileFrames::matrix() const { return matrix_of(*frame_, stream()); }

const AVFrame* FileFrames::next(int64_t number) {
  av_frame_unref(frame_.get());
  while (true) {
    const int received = drained_ ? AVERROR_EOF : avcodec_receive_frame(decoder_.get(), frame_.get());
    if (received >= 0) {
      require_sound(*frame_, file_, number);
      any_ = true;
      return frame_.get();
    }
    if (received == AVERROR_EOF) {
      drained_ = true;
      LTXV_REQUIRE(IoError, any_, path(), ": no frame could be decoded");
      return nullptr;
    }
    if (received != AVERROR(EAGAIN)) av_check(received, path(), "damaged");
    send_packet();
  }
}

void FileFrames::send_packet() {
  while (more_) {
    const int got = av_read_frame(demuxer_.get(), packet_.get());
    if (got == AVERROR_EOF) {
      more_ = false;
      break;
    }
    av_check(got, path(), "damaged or cut short");
    if (packet_->stream_index == index_) break;
    av_packet_unref(packet_.get());
  }
  LTXV_REQUIRE(IoError, !more_ || (packet_->flags & AV_PKT_FLAG_CORRUPT) == 0, path(), ": damaged or cut short");
  const int sent = avcodec_send_packet(decoder_.get(), more_ ? packet_.get() : nullptr);
  av_packet_unref(packet_.get());
  // The decoder refuses a picture above max_pixels with the same code as rubbish.
  LTXV_REQUIRE(IoError, sent >= 0 || sent == AVERROR_EOF || sent == AVERROR(ENOMEM), path(), ": damaged, or a frame above ",
               limits_.max_pixels_per_frame, " pixels: ", av_message(sent));
  av_check(sent == AVERROR_EOF ? 0 : sent, path(), "decoding");
}

std::string container_comment(const InputFile& file) {
  ByteSource source(file);
  const InputPtr demuxer = open_demuxer(file, source);
  const AVDictionaryEntry* entry = av_dict_get(demuxer->metadata, "comment", nullptr, 0);
  return entry == nullptr ? "" : entry->value;
}

}  // namespace ltxv::media
