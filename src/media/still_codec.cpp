#include "media/still_codec.h"

#include <algorithm>
#include <string>

#include "media/ffmpeg_handles.h"
#include "media/ffmpeg_log.h"

namespace ltxv::media {
namespace {

constexpr const char* kName = "picture";  // stands for a path in FFmpeg's errors

// Bilinear chroma and swscale's default BT.601 matrix in both directions: what the reference's converter does.
FramePtr convert(const AVFrame& from, AVPixelFormat format) {
  auto to = own<FramePtr>(av_frame_alloc(), "a frame");
  to->format = format, to->width = from.width, to->height = from.height;
  av_check(av_frame_get_buffer(to.get(), 0), kName, "allocating a frame");
  const auto scaler = own<ScalerPtr>(sws_getContext(from.width, from.height, static_cast<AVPixelFormat>(from.format), to->width, to->height,
                                                    format, SWS_BILINEAR, nullptr, nullptr, nullptr),
                                     "a converter");
  av_check(sws_scale(scaler.get(), from.data, from.linesize, 0, from.height, to->data, to->linesize), kName, "converting");
  return to;
}

FramePtr rgb_frame(const uint8_t* rgb, int64_t height, int64_t width) {
  auto frame = own<FramePtr>(av_frame_alloc(), "a frame");
  frame->format = AV_PIX_FMT_RGB24, frame->width = static_cast<int>(width), frame->height = static_cast<int>(height);
  av_check(av_frame_get_buffer(frame.get(), 0), kName, "allocating a frame");
  for (int64_t y = 0; y < height; ++y) std::copy_n(rgb + y * width * 3, width * 3, frame->data[0] + y * frame->linesize[0]);
  return frame;
}

CodecPtr open_encoder(const AVCodec* codec, const AVFrame& frame, int crf) {
  auto encoder = own<CodecPtr>(avcodec_alloc_context3(codec), "an encoder");
  encoder->log_level_offset = kSilentLogOffset;
  encoder->width = frame.width, encoder->height = frame.height;
  encoder->pix_fmt = AV_PIX_FMT_YUV420P;
  encoder->time_base = {1, 1};
  encoder->framerate = {1, 1};
  encoder->thread_count = 1;  // the bytes of a picture must not depend on the machine
  Dictionary options;
  options.set("preset", "veryfast");
  options.set("crf", std::to_string(crf));
  av_check(avcodec_open2(encoder.get(), codec, options.address()), kName, "opening libx264");
  return encoder;
}

}  // namespace

std::vector<uint8_t> recompress(const uint8_t* rgb, int64_t height, int64_t width, int crf) {
  const QuietScope quiet;
  LTXV_CHECK(height % 2 == 0 && width % 2 == 0 && height > 0 && width > 0, "a picture of ", width, "x", height, " cannot be compressed: sizes must be even");
  const AVCodec* encoder_kind = avcodec_find_encoder_by_name("libx264");
  const AVCodec* decoder_kind = avcodec_find_decoder(AV_CODEC_ID_H264);
  LTXV_REQUIRE(Unsupported, encoder_kind && decoder_kind, "this FFmpeg has no ", encoder_kind ? "H.264 decoder" : "libx264",
               ", which compressing a picture needs; image-crf 0 leaves it out");
  const auto yuv = convert(*rgb_frame(rgb, height, width), AV_PIX_FMT_YUV420P);
  yuv->pts = 0;
  const auto encoder = open_encoder(encoder_kind, *yuv, crf);
  const auto packet = own<PacketPtr>(av_packet_alloc(), "a packet");
  av_check(avcodec_send_frame(encoder.get(), yuv.get()), kName, "encoding");
  av_check(avcodec_send_frame(encoder.get(), nullptr), kName, "encoding");
  av_check(avcodec_receive_packet(encoder.get(), packet.get()), kName, "encoding");

  const auto decoder = own<CodecPtr>(avcodec_alloc_context3(decoder_kind), "a decoder");
  decoder->log_level_offset = kSilentLogOffset;
  decoder->thread_count = 1;
  av_check(avcodec_open2(decoder.get(), decoder_kind, nullptr), kName, "opening the H.264 decoder");
  av_check(avcodec_send_packet(decoder.get(), packet.get()), kName, "decoding");
  av_check(avcodec_send_packet(decoder.get(), nullptr), kName, "decoding");
  const auto decoded = own<FramePtr>(av_frame_alloc(), "a frame");
  av_check(avcodec_receive_frame(decoder.get(), decoded.get()), kName, "decoding");

  const auto back = convert(*decoded, AV_PIX_FMT_RGB24);
  std::vector<uint8_t> out(static_cast<size_t>(height * width * 3));
  for (int64_t y = 0; y < height; ++y) std::copy_n(back->data[0] + y * back->linesize[0], width * 3, out.data() + y * width * 3);
  return out;
}

}  // namespace ltxv::media
