#pragma once
// One media file behind FFmpeg's demuxer and decoder. FFmpeg itself opens nothing: bytes come from an InputFile.
#include <cstdint>
#include <string>

#include "media/ffmpeg_handles.h"
#include "media/file_structure.h"
#include "media/video_reader.h"

namespace ltxv::media {

/// Feeds a demuxer from an InputFile.
class ByteSource {
 public:
  explicit ByteSource(const InputFile& file);
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  AVIOContext* io() { return io_.get(); }

 private:
  static int read(void* self, uint8_t* bytes, int count);
  static int64_t seek(void* self, int64_t offset, int whence);

  const InputFile& file_;
  int64_t position_ = 0;
  IoPtr io_;
};

/// The frames of one open file, one after the other.
class FileFrames {
 public:
  /// Errors: as read_clip.
  FileFrames(const std::string& path, const ReadLimits& limits);

  const std::string& path() const { return file_.path(); }
  /// Mean rate; 0 for a picture.
  double rate() const;
  /// The next frame, valid until the next call; null behind the last one. `number` is only named in errors. Errors: as read_clip.
  const AVFrame* next(int64_t number);
  /// How that frame is to be turned: FFmpeg's display matrix, or null.
  const int32_t* matrix() const;

 private:
  const AVStream& stream() const { return *demuxer_->streams[index_]; }
  /// One packet of the video into the decoder; behind the last one, the end.
  void send_packet();

  const InputFile file_;
  ByteSource source_;
  const ReadLimits limits_;
  InputPtr demuxer_;
  int index_ = -1;
  CodecPtr decoder_;
  PacketPtr packet_ = own<PacketPtr>(av_packet_alloc(), "a packet");
  FramePtr frame_ = own<FramePtr>(av_frame_alloc(), "a video frame");
  bool more_ = true, drained_ = false, any_ = false;
};

/// The comment that the container holds; empty without one. Errors: IoError, Unsupported, as read_clip.
std::string container_comment(const InputFile& file);

}  // namespace ltxv::media
