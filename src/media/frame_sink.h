#pragma once
// What stands behind a VideoWriter: one sink a kind of file. Sinks trust their arguments (video_writer.cpp has checked
// them) and remove what they wrote when destroyed before finish() returned.
#include <cstdint>
#include <memory>
#include <string>

#include "media/container.h"
#include "media/ffmpeg_handles.h"
#include "media/video_writer.h"

namespace ltxv::media {

struct SinkRequest {
  std::string path;
  Container container = Container::mp4;
  int width = 0, height = 0;
  AVRational rate = {25, 1};
  std::string encoder;
  WriteOptions options;
};

class FrameSink {
 public:
  virtual ~FrameSink() = default;
  virtual void write(const uint8_t* rgb24, int64_t stride_bytes) = 0;
  virtual void finish() = 0;
};

std::unique_ptr<FrameSink> make_video_sink(const SinkRequest& request);
std::unique_ptr<FrameSink> make_gif_sink(const SinkRequest& request);
std::unique_ptr<FrameSink> make_png_sequence_sink(const SinkRequest& request);
std::unique_ptr<FrameSink> make_png_sheet_sink(const SinkRequest& request);

}  // namespace ltxv::media
