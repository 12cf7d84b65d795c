#include "media/ffmpeg_log.h"

#include <cstdarg>
#include <mutex>

extern "C" {
#include <libavutil/log.h>
}

namespace ltxv::media {
namespace {

thread_local int quiet_depth = 0;

void drop_inside_this_layer(void* context, int level, const char* format, va_list arguments) {
  if (quiet_depth == 0) av_log_default_callback(context, level, format, arguments);
}

}  // namespace

QuietScope::QuietScope() {
  static std::once_flag installed;
  std::call_once(installed, [] { av_log_set_callback(drop_inside_this_layer); });
  ++quiet_depth;
}

QuietScope::~QuietScope() { --quiet_depth; }

}  // namespace ltxv::media
