#include "media/video_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "media/container.h"
#include "media/ffmpeg_handles.h"
#include "media/ffmpeg_log.h"
#include "media/file_structure.h"
#include "media/frame_rate.h"
#include "media/output_file.h"
#include "media/pixels.h"

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

/// Feeds a demuxer from an InputFile, so that FFmpeg opens nothing by itself.
class ByteSource {
 public:
  explicit ByteSource(const InputFile& file) : file_(file) {
    auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBufferBytes));
    LTXV_REQUIRE(OutOfMemory, buffer != nullptr, "out of memory for an input buffer");
    io_.reset(avio_alloc_context(buffer, kIoBufferBytes, 0, this, read, nullptr, seek));
    if (!io_) {
      av_free(buffer);
      throw OutOfMemory("out of memory for an input buffer");
    }
  }
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  AVIOContext* io() { return io_.get(); }

 private:
  static int read(void* self, uint8_t* bytes, int count) {
    auto& source = *static_cast<ByteSource*>(self);
    const int64_t got = source.file_.try_read(bytes, count, source.position_);
    if (got < 0) return AVERROR(errno);
    if (got == 0) return AVERROR_EOF;
    source.position_ += got;
    return static_cast<int>(got);
  }

  static int64_t seek(void* self, int64_t offset, int whence) {
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

  const InputFile& file_;
  int64_t position_ = 0;
  IoPtr io_;
};

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

/// Collects frames into a clip and holds it to the limits.
class ClipBuilder {
 public:
  ClipBuilder(const std::string& path, const ReadLimits& limits) : path_(path), limits_(limits) {}

  bool full() const { return limits_.stop_after_frames > 0 && seen() - limits_.first_frame >= limits_.stop_after_frames; }
  Clip& clip() { return clip_; }
  /// Frames of the file so far, kept or not.
  int64_t seen() const { return clip_.first_frame + clip_.frames; }
  void set_path(const std::string& path) { path_ = path; }

  void append(const AVFrame& frame, const int32_t* matrix) {
    int64_t width = frame.width, height = frame.height;
    if (swaps_axes(matrix)) std::swap(width, height);
    if (seen() == 0) clip_.width = width, clip_.height = height;
    LTXV_REQUIRE(Unsupported, width == clip_.width && height == clip_.height, path_, ": frame ", seen(), " is ",
                 width, " x ", height, ", the ones before are ", clip_.width, " x ", clip_.height);
    LTXV_REQUIRE(Unsupported, height <= limits_.max_pixels_per_frame / width, path_, ": ", width, " x ", height,
                 " pixels, at most ", limits_.max_pixels_per_frame, " are accepted");
    LTXV_REQUIRE(Unsupported, seen() < limits_.max_frames, path_, ": more than ", limits_.max_frames, " frames");
    if (clip_.frames > 0 && clip_.first_frame < limits_.first_frame) {  // the one before is not wanted, this one may be the last
      clip_.rgb.clear();
      clip_.first_frame += clip_.frames;
      clip_.frames = 0;
    }
    const int64_t bytes = (clip_.frames + 1) * width * height * 3;
    LTXV_REQUIRE(Unsupported, bytes <= limits_.max_bytes, path_, ": more than ", limits_.max_bytes, " bytes of frames");
    reader_.append(frame, matrix, clip_.rgb);
    ++clip_.frames;
  }

 private:
  std::string path_;
  const ReadLimits& limits_;
  FrameReader reader_;
  Clip clip_;
};

void require_sound(const AVFrame& frame, const InputFile& file, int64_t number) {
  const bool sound = (frame.flags & AV_FRAME_FLAG_CORRUPT) == 0 && frame.decode_error_flags == 0;
  LTXV_REQUIRE(IoError, sound, file.path(), ": frame ", number, " is damaged");
}

void read_file(const std::string& path, const ReadLimits& limits, ClipBuilder& builder) {
  const InputFile file(path);
  require_complete(file, limits.max_pixels_per_frame);
  ByteSource source(file);
  const InputPtr demuxer = open_demuxer(file, source);
  find_stream_info(*demuxer, file, limits);
  const int index = find_video(*demuxer);
  LTXV_REQUIRE(Unsupported, index >= 0, path, ": holds no video and no picture");
  for (unsigned i = 0; i < demuxer->nb_streams; ++i) {
    if (static_cast<int>(i) != index) demuxer->streams[i]->discard = AVDISCARD_ALL;
  }
  const AVStream& stream = *demuxer->streams[index];
  builder.clip().frames_per_second = mean_rate(*demuxer, stream);
  const CodecPtr decoder = open_decoder(*demuxer, stream, file, limits);
  const PacketPtr packet = own<PacketPtr>(av_packet_alloc(), "a packet");
  const FramePtr frame = own<FramePtr>(av_frame_alloc(), "a video frame");
  const int64_t frames_before = builder.seen();

  for (bool more = true; more && !builder.full();) {
    const int got = av_read_frame(demuxer.get(), packet.get());
    if (got == AVERROR_EOF) {
      more = false;
    } else {
      av_check(got, path, "damaged or cut short");
      if (packet->stream_index != index) {
        av_packet_unref(packet.get());
        continue;
      }
      LTXV_REQUIRE(IoError, (packet->flags & AV_PKT_FLAG_CORRUPT) == 0, path, ": damaged or cut short");
    }
    const int sent = avcodec_send_packet(decoder.get(), more ? packet.get() : nullptr);
    av_packet_unref(packet.get());
    // The decoder refuses a picture above max_pixels with the same code as rubbish.
    LTXV_REQUIRE(IoError, sent >= 0 || sent == AVERROR_EOF || sent == AVERROR(ENOMEM), path,
                 ": damaged, or a frame above ", limits.max_pixels_per_frame, " pixels: ", av_message(sent));
    av_check(sent == AVERROR_EOF ? 0 : sent, path, "decoding");
    while (!builder.full()) {
      const int received = avcodec_receive_frame(decoder.get(), frame.get());
      if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) break;
      av_check(received, path, "damaged");
      require_sound(*frame, file, builder.seen());
      builder.append(*frame, matrix_of(*frame, stream));
      av_frame_unref(frame.get());
    }
  }
  LTXV_REQUIRE(IoError, builder.seen() > frames_before, path, ": no frame could be decoded");
}

/// The numbers for which files of the pattern exist, in order.
std::vector<int64_t> sequence_numbers(const std::string& path, const NumberPattern& pattern) {
  namespace fs = std::filesystem;
  std::vector<int64_t> numbers;
  std::error_code failed;
  const std::string folder = folder_of(path);
  const std::string prefix = pattern.prefix.substr(pattern.prefix.rfind('/') + 1);
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (name.size() <= prefix.size() + pattern.suffix.size() || !name.starts_with(prefix) ||
        !name.ends_with(pattern.suffix)) {
      continue;
    }
    const std::string figures = name.substr(prefix.size(), name.size() - prefix.size() - pattern.suffix.size());
    const int64_t number = std::strtoll(figures.c_str(), nullptr, 10);
    // Spelled back, to accept exactly what the writer would have written.
    if (number >= 0 && pattern.path(number) == pattern.prefix + figures + pattern.suffix) numbers.push_back(number);
  }
  LTXV_REQUIRE(IoError, !failed, path, ": folder ", folder, ": ", system_message(failed.value()));
  LTXV_REQUIRE(IoError, !numbers.empty(), path, ": no file of this pattern");
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// A file whose own name holds a '%d' is that file, not a pattern.
std::optional<NumberPattern> pattern_to_read(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? std::nullopt : number_pattern(path);
}

}  // namespace

Clip read_clip(const std::string& path, const ReadLimits& limits) {
  const QuietScope quiet;
  LTXV_CHECK(limits.max_pixels_per_frame > 0 && limits.stop_after_frames >= 0 && limits.first_frame >= 0, path,
             ": limits of reading out of range");
  ClipBuilder builder(path, limits);
  const std::optional<NumberPattern> pattern = pattern_to_read(path);
  if (!pattern) {
    read_file(path, limits, builder);
    return std::move(builder.clip());
  }
  const std::vector<int64_t> numbers = sequence_numbers(path, *pattern);
  for (size_t i = 0; i < numbers.size() && !builder.full(); ++i) {
    const int64_t wanted = numbers[0] + static_cast<int64_t>(i);
    LTXV_REQUIRE(IoError, numbers[i] == wanted, pattern->path(wanted), ": missing, the sequence goes on to ",
                 pattern->path(numbers.back()));
    builder.set_path(pattern->path(wanted));
    read_file(pattern->path(wanted), limits, builder);
  }
  builder.clip().frames_per_second = 0;
  return std::move(builder.clip());
}

std::string read_metadata(const std::string& path) {
  const QuietScope quiet;
  const std::optional<NumberPattern> pattern = pattern_to_read(path);
  const InputFile file(pattern ? pattern->path(sequence_numbers(path, *pattern).front()) : path);
  require_complete(file, ReadLimits{}.max_pixels_per_frame);
  std::string found;
  if (comment_kind(file) != CommentKind::none) {
    found = read_comment(file);
  } else {
    ByteSource source(file);
    const InputPtr demuxer = open_demuxer(file, source);
    const AVDictionaryEntry* entry = av_dict_get(demuxer->metadata, "comment", nullptr, 0);
    if (entry != nullptr) found = entry->value;
  }
  // Cameras and editors leave comments too; ours is an object.
  return found.starts_with('{') ? found : "";
}

}  // namespace ltxv::media
