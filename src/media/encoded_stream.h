#pragma once
// One encoder and one muxer writing into an OutputFile.
#include <cstdint>
#include <memory>

#include "media/ffmpeg_handles.h"
#include "media/frame_sink.h"
#include "media/output_file.h"

namespace ltxv::media {

class EncodedStream {
 public:
  /// `width` x `height` is the size of the encoder's frames; timestamps count in `time_base`.
  EncodedStream(const SinkRequest& request, int width, int height, AVRational time_base);
  ~EncodedStream();
  EncodedStream(const EncodedStream&) = delete;
  EncodedStream& operator=(const EncodedStream&) = delete;

  /// Errors: IoError naming the path, with the system's reason where a write failed.
  void send(AVFrame& frame, int64_t timestamp);
  /// Flushes the encoder and completes the container; file() is then whole but not yet committed.
  void finish();
  OutputFile& file() { return file_; }

 private:
  static int write_bytes(void* self, AvioWriteBytes bytes, int count);
  static int64_t seek(void* self, int64_t offset, int whence);
  void open_encoder(const SinkRequest& request, int width, int height, AVRational time_base);
  void check(int code, const char* what);
  void drain(const char* what);

  // Declared so that the muxer goes before its stream of bytes, and that before the file.
  OutputFile file_;
  int64_t position_ = 0;
  IoPtr io_;
  OutputPtr muxer_;
  CodecPtr encoder_;
  PacketPtr packet_;
  AVStream* stream_ = nullptr;  // the muxer's
  bool trailer_due_ = false;
};

}  // namespace ltxv::media
