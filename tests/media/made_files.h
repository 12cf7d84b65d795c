#pragma once
// Input files that the library itself cannot write, made without it.
#include "media/ffmpeg_handles.h"
#include "media/media_support.h"

extern "C" {
#include <libavutil/adler32.h>
#include <libavutil/crc.h>
}

namespace ltxv::media {

inline void put_big_endian(Bytes& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

inline void put_chunk(Bytes& png, const std::string& type, const Bytes& data) {
  put_big_endian(png, static_cast<uint32_t>(data.size()));
  Bytes body(type.begin(), type.end());
  body.insert(body.end(), data.begin(), data.end());
  png.insert(png.end(), body.begin(), body.end());
  put_big_endian(png, ~av_crc(av_crc_get_table(AV_CRC_32_IEEE_LE), UINT32_MAX, body.data(), body.size()));
}

constexpr uint8_t kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6;  // PNG colour types

struct PngParts {
  uint32_t width = 0, height = 0;
  uint8_t depth = 8, colour = kRgb;
  Bytes samples;  ///< rows without filter bytes
  Bytes palette = {};
};

/// Stored, not compressed: one deflate block of up to 65535 bytes.
inline Bytes png_file(const PngParts& parts) {
  Bytes rows;
  const size_t row_bytes = parts.height == 0 ? 0 : parts.samples.size() / parts.height;
  for (size_t y = 0; y < parts.height && row_bytes > 0; ++y) {
    rows.push_back(0);
    rows.insert(rows.end(), parts.samples.begin() + static_cast<ptrdiff_t>(y * row_bytes),
                parts.samples.begin() + static_cast<ptrdiff_t>((y + 1) * row_bytes));
  }
  const auto length = static_cast<uint16_t>(rows.size());
  Bytes stream = {
      0x78, 0x01, 0x01, uint8_t(length), uint8_t(length >> 8), uint8_t(~length), uint8_t(uint16_t(~length) >> 8)};
  stream.insert(stream.end(), rows.begin(), rows.end());
  put_big_endian(stream, static_cast<uint32_t>(av_adler32_update(1, rows.data(), static_cast<unsigned>(rows.size()))));

  Bytes png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, header;
  put_big_endian(header, parts.width);
  put_big_endian(header, parts.height);
  header.insert(header.end(), {parts.depth, parts.colour, 0, 0, 0});
  put_chunk(png, "IHDR", header);
  if (!parts.palette.empty()) put_chunk(png, "PLTE", parts.palette);
  put_chunk(png, "IDAT", stream);
  put_chunk(png, "IEND", {});
  return png;
}

/// Encodes one frame; the codec's parameters are taken from the frame.
inline Bytes encode_one(const char* encoder, AVFrame& frame, CodecPtr& context) {
  const AVCodec* codec = avcodec_find_encoder_by_name(encoder);
  context.reset(avcodec_alloc_context3(codec));
  context->width = frame.width;
  context->height = frame.height;
  context->pix_fmt = static_cast<AVPixelFormat>(frame.format);
  context->time_base = {1, 25};
  context->colorspace = frame.colorspace;
  context->color_range = frame.color_range;
  context->flags |= AV_CODEC_FLAG_QSCALE;
  context->global_quality = frame.quality = FF_QP2LAMBDA;
  EXPECT_GE(avcodec_open2(context.get(), codec, nullptr), 0);
  EXPECT_GE(avcodec_send_frame(context.get(), &frame), 0);
  EXPECT_GE(avcodec_send_frame(context.get(), nullptr), 0);
  const PacketPtr packet(av_packet_alloc());
  EXPECT_GE(avcodec_receive_packet(context.get(), packet.get()), 0);
  return Bytes(packet->data, packet->data + packet->size);
}

inline FramePtr blank_frame(int width, int height, AVPixelFormat format) {
  FramePtr frame(av_frame_alloc());
  frame->width = width;
  frame->height = height;
  frame->format = format;
  frame->pts = 0;
  EXPECT_GE(av_frame_get_buffer(frame.get(), 0), 0);
  return frame;
}

/// One packet in a file of its own.
inline void mux_one(const std::string& path, const AVCodecParameters& parameters, const Bytes& data) {
  AVFormatContext* raw = nullptr;
  ASSERT_GE(avformat_alloc_output_context2(&raw, nullptr, nullptr, path.c_str()), 0);
  const OutputPtr muxer(raw);
  AVStream* stream = avformat_new_stream(raw, nullptr);
  ASSERT_GE(avcodec_parameters_copy(stream->codecpar, &parameters), 0);
  stream->codecpar->codec_tag = 0;
  stream->time_base = {1, 25};
  ASSERT_GE(avio_open(&raw->pb, path.c_str(), AVIO_FLAG_WRITE), 0);
  ASSERT_GE(avformat_write_header(raw, nullptr), 0);
  const PacketPtr packet(av_packet_alloc());
  ASSERT_GE(av_new_packet(packet.get(), static_cast<int>(data.size())), 0);
  std::copy(data.begin(), data.end(), packet->data);
  packet->pts = packet->dts = 0;
  packet->duration = stream->time_base.den / (25 * stream->time_base.num);
  packet->flags = AV_PKT_FLAG_KEY;
  ASSERT_GE(av_write_frame(raw, packet.get()), 0);
  ASSERT_GE(av_write_trailer(raw), 0);
  avio_closep(&raw->pb);
}

/// A 32 x 32 film of one frame, all samples as given, losslessly coded and tagged.
inline void write_flat_yuv(const std::string& path, std::array<uint8_t, 3> yuv, AVColorSpace space,
                           AVColorRange range) {
  const FramePtr frame = blank_frame(32, 32, AV_PIX_FMT_YUV420P);
  for (int plane = 0; plane < 3; ++plane) {
    std::fill_n(frame->data[plane], frame->linesize[plane] * (plane == 0 ? 32 : 16), yuv[static_cast<size_t>(plane)]);
  }
  frame->colorspace = space;
  frame->color_range = range;
  CodecPtr context;
  const Bytes data = encode_one("ffv1", *frame, context);
  AVCodecParameters* parameters = avcodec_parameters_alloc();
  ASSERT_GE(avcodec_parameters_from_context(parameters, context.get()), 0);
  mux_one(path, *parameters, data);
  avcodec_parameters_free(&parameters);
}

/// A JPEG of four grey quadrants, with an EXIF orientation.
inline Bytes jpeg_file(int width, int height, std::array<uint8_t, 4> quadrants, int orientation) {
  const FramePtr frame = blank_frame(width, height, AV_PIX_FMT_YUVJ420P);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      frame->data[0][y * frame->linesize[0] + x] = quadrants[static_cast<size_t>(y * 2 / height * 2 + x * 2 / width)];
    }
  }
  for (int plane = 1; plane < 3; ++plane) std::fill_n(frame->data[plane], frame->linesize[plane] * (height / 2), 128);
  frame->color_range = AVCOL_RANGE_JPEG;
  CodecPtr context;
  Bytes jpeg = encode_one("mjpeg", *frame, context);
  // APP1: "Exif", TIFF header (big endian), one directory with one entry: tag 0x0112, type SHORT, count 1.
  const Bytes exif = {0xff, 0xe1, 0, 34, 'E', 'x',  'i',  'f', 0, 0, 'M', 'M', 0, 42, 0,
                      0,    0,    8, 0,  1,   0x01, 0x12, 0,   3, 0, 0,   0,   1, 0,  uint8_t(orientation),
                      0,    0,    0, 0,  0,   0};
  jpeg.insert(jpeg.begin() + 2, exif.begin(), exif.end());
  return jpeg;
}

}  // namespace ltxv::media
