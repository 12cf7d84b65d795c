#pragma once
// Owners for what FFmpeg allocates, and the translation of its error codes. Included by .cpp files of this folder only:
// no header that other layers see names an FFmpeg type. Written against FFmpeg 4.4 … 8; the version switches are all
// here.
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/error.h>
#include <libavutil/frame.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

#include "base/error.h"

namespace ltxv::media {

#if LIBAVFORMAT_VERSION_MAJOR >= 61
using AvioWriteBytes = const uint8_t*;  // write callbacks take const since FFmpeg 7
#else
using AvioWriteBytes = uint8_t*;
#endif
#if LIBAVFORMAT_VERSION_MAJOR >= 59
using InputFormat = const AVInputFormat;  // probing hands out const since FFmpeg 5
#else
using InputFormat = AVInputFormat;
#endif

/// For FFmpeg's free functions that take the address of the pointer.
template <auto kFree>
struct FreeByAddress {
  template <class T>
  void operator()(T* pointer) const {
    kFree(&pointer);
  }
};

struct FreeOutput {
  void operator()(AVFormatContext* context) const { avformat_free_context(context); }
};
struct FreeScaler {
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};
struct FreeIo {
  void operator()(AVIOContext* context) const {
    av_freep(&context->buffer);
    avio_context_free(&context);
  }
};

using FramePtr = std::unique_ptr<AVFrame, FreeByAddress<av_frame_free>>;
using PacketPtr = std::unique_ptr<AVPacket, FreeByAddress<av_packet_free>>;
using CodecPtr = std::unique_ptr<AVCodecContext, FreeByAddress<avcodec_free_context>>;
using InputPtr = std::unique_ptr<AVFormatContext, FreeByAddress<avformat_close_input>>;
using OutputPtr = std::unique_ptr<AVFormatContext, FreeOutput>;
using ScalerPtr = std::unique_ptr<SwsContext, FreeScaler>;
using IoPtr = std::unique_ptr<AVIOContext, FreeIo>;

/// Options for an open call. What FFmpeg did not take stays behind and is dropped: an older encoder may lack an option.
class Dictionary {
 public:
  Dictionary() = default;
  Dictionary(const Dictionary&) = delete;
  Dictionary& operator=(const Dictionary&) = delete;
  ~Dictionary() { av_dict_free(&dictionary_); }
  void set(const char* key, const std::string& value) { av_dict_set(&dictionary_, key, value.c_str(), 0); }
  AVDictionary** address() { return &dictionary_; }

 private:
  AVDictionary* dictionary_ = nullptr;
};

/// FFmpeg's words for one of its error codes, lower case.
inline std::string av_message(int code) {
  char buffer[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, buffer, sizeof buffer);
  std::string message = buffer;
  if (!message.empty() && message[0] >= 'A' && message[0] <= 'Z')
    message[0] = static_cast<char>(message[0] - 'A' + 'a');
  return message;
}

/// Returns `code` unless it is negative. Errors: OutOfMemory for ENOMEM, else IoError "path: what: reason".
inline int av_check(int code, const std::string& path, const char* what) {
  if (code >= 0) return code;
  if (code == AVERROR(ENOMEM)) throw OutOfMemory(text(path, ": ", what, ": out of memory"));
  throw IoError(text(path, ": ", what, ": ", av_message(code)));
}

/// Owns what an FFmpeg allocation returned. Errors: OutOfMemory for null.
template <class Owner, class T>
Owner own(T* pointer, const char* what) {
  if (pointer == nullptr) throw OutOfMemory(text("out of memory for ", what));
  return Owner(pointer);
}

}  // namespace ltxv::media
